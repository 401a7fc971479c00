package proc

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// FuzzParseStart gives a process any name, which it may choose itself: none
// may move the start time. The name alone is no line of the kernel's.
func FuzzParseStart(f *testing.F) {
	f.Add("qemu", uint64(98765))
	f.Fuzz(func(t *testing.T, name string, start uint64) {
		stat := fmt.Sprintf("1 (%s) S 1 2 3 0 -1 4 5 6 7 8 9 10 11 12 20 0 1 0 %d 14 15", name, start)
		if got, err := parseStart([]byte(stat)); got != start || err != nil {
			t.Errorf("%q: got %d, %v, want %d", stat, got, err, start)
		}
		if n, err := parseStart([]byte(name)); err == nil && !strings.Contains(name, fmt.Sprint(n)) {
			t.Errorf("%q: got %d, which is not in it", name, n)
		}
	})
}

// FuzzParseCmdline asks that no byte of a command line is lost.
func FuzzParseCmdline(f *testing.F) {
	f.Add([]byte("qemu\x00-S\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		args := parseCmdline(b)
		if len(b) == 0 {
			if args != nil {
				t.Errorf("nothing: got %q", args)
			}
			return
		}
		if got := strings.Join(args, "\x00"); got != string(bytes.TrimSuffix(b, []byte{0})) {
			t.Errorf("%q: got %q", b, args)
		}
	})
}
