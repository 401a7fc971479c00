package qmp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"testing"
)

// FuzzReadLine asks for the same lines however they are cut into reads, and that
// a line without an end is known from the end.
func FuzzReadLine(f *testing.F) {
	f.Add([]byte("{}\r\n\n {\"a\": 1} \n{"), uint8(16))
	f.Fuzz(func(t *testing.T, text []byte, size uint8) {
		parts := bytes.Split(text, []byte("\n"))
		r := bufio.NewReaderSize(bytes.NewReader(text), int(size))
		for _, part := range parts[:len(parts)-1] {
			want := bytes.TrimSpace(part)
			if len(want) == 0 {
				continue
			}
			if got, err := readLine(r); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("got %q, %v, want %q", got, err, want)
			}
		}
		line, err := readLine(r)
		cut := len(parts[len(parts)-1]) > 0
		if line != nil || !errors.Is(err, ErrGone) || errors.Is(err, io.ErrUnexpectedEOF) != cut {
			t.Errorf("at the end: got %q, %v, want ErrGone, cut short: %v", line, err, cut)
		}
	})
}
