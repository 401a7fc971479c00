package forward

import (
	"errors"
	"io"
)

// A Source remembers how its Reader failed, which io.Copy does not tell from how
// its Writer failed.
type Source struct {
	io.Reader
	err error
}

// Read reads.
func (s *Source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// Err returns how reading failed, or nil if it did not. It is for when the reading
// is over.
func (s *Source) Err() error { return s.err }
