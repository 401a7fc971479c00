package nest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vmlaunch/vmlaunch/internal/proc"
)

func FuzzParseUsernet(f *testing.F) {
	f.Add("  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\n  TCP[HOST_FORWARD]  13       127.0.0.1 40123       10.0.2.15    22     0     0\n")
	f.Fuzz(func(t *testing.T, text string) {
		port, err := parseUsernet(text)
		if (err == nil) != (port >= 1 && port <= 65535) {
			t.Errorf("%q: got %d, %v", text, port, err)
		}
		if err == nil && !strings.Contains(text, strconv.Itoa(port)) {
			t.Errorf("%q: got %d, which is not in it", text, port)
		}
	})
}

// FuzzReadRecord asks that a record which was read comes back the same, and
// that one which was not is a nest that does not run.
func FuzzReadRecord(f *testing.F) {
	f.Add([]byte(`{"kernel": "7.3", "qemu": {"pid": 7, "start": 8, "boot": "b"}, "port": 40123, "ready": true}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, recordFile), text, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := readRecord(dir)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) || r.Ready {
				t.Errorf("%q: got %+v, %v", text, r, err)
			}
			if _, s := look(dir, func(proc.ID) bool { return true }); s != broken {
				t.Errorf("%q: state %d, want broken", text, s)
			}
			return
		}
		if err := r.write(dir); err != nil {
			t.Fatalf("%+v can be read but not written: %v", r, err)
		}
		again, err := readRecord(dir)
		if d := cmp.Diff(r, again); err != nil || d != "" {
			t.Errorf("written again: %v\n%s", err, d)
		}
	})
}

func FuzzLastLines(f *testing.F) {
	f.Add([]byte("\n\nKernel panic\r\n\n"), uint8(2))
	f.Fuzz(func(t *testing.T, log []byte, n uint8) {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, log, 0o600); err != nil {
			t.Fatal(err)
		}
		lines := lastLines(path, int(n))
		if len(lines) > int(n) {
			t.Errorf("got %d lines, want at most %d", len(lines), n)
		}
		for _, l := range lines {
			if strings.TrimSpace(l) == "" || strings.Contains(l, "\n") || !strings.HasPrefix(l, "  ") {
				t.Errorf("%q: got the line %q", log, l)
			}
		}
	})
}
