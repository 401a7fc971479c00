package launcher

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadEnding(t *testing.T) {
	for _, c := range []struct {
		name, log string
		want      ending
	}{
		{"killed", "", ending{}},
		{"crashed", "qemu: hw/x.c:7: assertion failed\n", ending{}},
		{"quit", "qemu_system_shutdown_request reason=2\n", ending{true, "QEMU was told to quit"}},
		{"power off", "12@17.5:qemu_system_shutdown_request reason=6\n", ending{true, "the guest powered off"}},
		{"restart", "qemu_system_shutdown_request reason=7\n", ending{false, "the guest restarted (a kernel that panics does)"}},
		{"panic", "qemu_system_shutdown_request reason=8\n", ending{false, "the guest panicked"}},
		{"the last counts", "qemu_system_shutdown_request reason=7\nqemu_system_shutdown_request reason=6\n",
			ending{true, "the guest powered off"}},
		{"signal", "qemu_system_shutdown_request reason=4\nqemu-system-x86_64: terminating on signal 15 from pid 7 (sh)\n",
			ending{true, "QEMU was ended by signal 15 from pid 7 (sh)"}},
		{"of a newer QEMU", "qemu_system_shutdown_request reason=77\n", ending{false, "QEMU shut down for reason 77"}},
		{"no number", "qemu_system_shutdown_request reason=99999999999999999999\n", ending{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := readEnding([]byte(c.log)); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestTail(t *testing.T) {
	log := "one\r\n\n  \ntwo\x1b[31m red\x1b[0m\nqemu_system_shutdown_request reason=6\nprogress 1\rprogress 2\nend\x07\x00"
	want := []string{"two red", "progress 2", "end"}
	if d := cmp.Diff(want, tail([]byte(log), 3)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got := tail(nil, 3); len(got) != 0 {
		t.Errorf("of nothing: got %q", got)
	}
}

func FuzzLine(f *testing.F) {
	f.Add([]byte("\x1b[2J\x1b]0;title\x07text\xff\xc2\x9b31m"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, r := range line(b) {
			if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
				t.Errorf("%q: has control character %q left", b, r)
			}
		}
	})
}

func TestReadTailOfALongLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if got := readTail(path); got != nil {
		t.Errorf("of no file: got %d bytes", len(got))
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("x", 3*tailBytes)+"\nend\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := readTail(path)
	if len(got) != tailBytes || !strings.HasSuffix(string(got), "\nend\n") {
		t.Errorf("got %d bytes ending in %q, want %d ending in the log's end", len(got), got[len(got)-5:], tailBytes)
	}
}
