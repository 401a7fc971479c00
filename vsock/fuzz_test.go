package vsock

import (
	"errors"
	"testing"
)

// FuzzParseMode asks that only the two words of the kernel are modes, and that
// what was read is written the same.
func FuzzParseMode(f *testing.F) {
	f.Add("local")
	f.Fuzz(func(t *testing.T, s string) {
		var m Mode
		if err := m.UnmarshalText([]byte(s)); err != nil {
			if _, perr := ParseMode(s); m != 0 || !errors.Is(err, ErrBadMode) || !errors.Is(perr, ErrBadMode) {
				t.Errorf("%q: got %v, %v and %v, want ErrBadMode", s, m, err, perr)
			}
			return
		}
		text, err := m.MarshalText()
		if err != nil || string(text) != s || m != 0 && m != Global && m != Local {
			t.Errorf("%q: got %v, written as %q, %v", s, m, text, err)
		}
	})
}
