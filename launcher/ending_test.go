package launcher

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
		{"restart that ends it", "runstate_set current_run_state 9 (running) new_state 11 (shutdown)\n",
			ending{false, "the guest restarted (a kernel that panics does)"}},
		{"killed while it ran", "runstate_set current_run_state 6 (prelaunch) new_state 9 (running)\n", ending{}},
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

func TestBootTailBeginsWithThePanic(t *testing.T) {
	log := []byte("a\nKernel panic - not syncing: no init\nb\nc\nd\n")
	if d := cmp.Diff([]string{"Kernel panic - not syncing: no init", "b"}, bootTail(log, 2)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"c", "d"}, bootTail([]byte("a\nb\nc\nd\n"), 2)); d != "" {
		t.Errorf("without a panic (-want +got):\n%s", d)
	}
}

// TestRealQEMUTellsItsEnding lets a guest restart where that ends QEMU.
func TestRealQEMUTellsItsEnding(t *testing.T) {
	qemu := realQEMU(t)
	rom := make([]byte, 64<<10)
	// lidt of an empty table, int3: a triple fault, which is a reset.
	copy(rom[len(rom)-16:], []byte{0x2e, 0x0f, 0x01, 0x1e, 0x00, 0x00, 0xcc})
	path := filepath.Join(t.TempDir(), "rom")
	if err := os.WriteFile(path, rom, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	log, err := exec.CommandContext(ctx, qemu, "-nodefaults", "-display", "none", "-m", "2", "-bios", path,
		"-action", "reboot=shutdown", "-trace", "enable="+traceShutdown, "-trace", "enable="+traceState).CombinedOutput()
	if want := shutdownCause(7); err != nil || readEnding(log) != want {
		t.Errorf("got %+v, %v, want %+v; the log: %s", readEnding(log), err, want, log)
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
