package vsock

import (
	"errors"
	"fmt"
)

// A Mode says with whom the sockets and guests of a network namespace share
// their CIDs and ports. It is fixed when the namespace is made. The zero Mode
// is none.
type Mode int

const (
	// Global namespaces share one space: a CID is unique among all of them,
	// and everyone in them can reach it. It is the default, and the only mode
	// before Linux 7.0.
	Global Mode = iota + 1

	// Local namespaces have a space each. Nothing crosses between two of them,
	// nor between one and the global space.
	Local
)

// ErrBadMode says that a word is neither "global" nor "local".
var ErrBadMode = errors.New("not a vsock mode")

// String returns the word that the kernel uses for m: "global" or "local".
func (m Mode) String() string {
	switch m {
	case Global:
		return "global"
	case Local:
		return "local"
	}
	return fmt.Sprintf("Mode(%d)", int(m))
}

// ParseMode reads "global" or "local". It fails with [ErrBadMode] for all else.
func ParseMode(s string) (Mode, error) {
	switch s {
	case "global":
		return Global, nil
	case "local":
		return Local, nil
	}
	return 0, fmt.Errorf("vsock mode %q: %w (want global or local)", s, ErrBadMode)
}

// MarshalText writes the word of m, or nothing for the zero Mode.
func (m Mode) MarshalText() ([]byte, error) {
	switch m {
	case 0:
		return nil, nil
	case Global, Local:
		return []byte(m.String()), nil
	}
	return nil, fmt.Errorf("%v: %w", m, ErrBadMode)
}

// UnmarshalText reads what MarshalText writes.
func (m *Mode) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*m = 0
		return nil
	}
	parsed, err := ParseMode(string(text))
	if err != nil {
		return err
	}
	*m = parsed
	return nil
}
