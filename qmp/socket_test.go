package qmp_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vmlaunch/vmlaunch/qmp"
)

func TestDialNobody(t *testing.T) {
	dir := t.TempDir()
	absent := filepath.Join(dir, "absent")
	stale := filepath.Join(dir, "stale")
	f, err := qmp.Listen(stale)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	for path, cause := range map[string]error{absent: fs.ErrNotExist, stale: syscall.ECONNREFUSED} {
		if _, err := qmp.Dial(t.Context(), path); !errors.Is(err, qmp.ErrGone) || !errors.Is(err, cause) {
			t.Errorf("%s: got %v, want ErrGone, %v", path, err, cause)
		}
	}
}

// TestDialDyingQEMU ends the listener while a client waits in its queue, as a
// QEMU does that dies of its arguments.
func TestDialDyingQEMU(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	f, err := qmp.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 1)
	go func() {
		_, err := qmp.Dial(t.Context(), path)
		errs <- err
	}()
	l, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	conn, err := l.Accept() // the dial is under way
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	l.Close()
	if err := <-errs; !errors.Is(err, qmp.ErrGone) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want ErrGone", err)
	}
}

func TestDialContextIsOver(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := qmp.Dial(ctx, filepath.Join(t.TempDir(), "s")); !errors.Is(err, context.Canceled) || errors.Is(err, qmp.ErrGone) {
		t.Errorf("got %v, want canceled", err)
	}
}

func TestSocketPathsThatCannotBe(t *testing.T) {
	long := "/tmp/" + strings.Repeat("x", 103)
	for _, path := range []string{"", "@abstract", long} {
		if _, err := qmp.Dial(t.Context(), path); err == nil || errors.Is(err, qmp.ErrGone) {
			t.Errorf("Dial(%.20q): %v, want the path refused", path, err)
		}
		if f, err := qmp.Listen(path); err == nil {
			t.Errorf("Listen(%.20q) made a socket", path)
			f.Close()
		}
	}
	if _, err := qmp.Dial(t.Context(), long); err == nil || !strings.Contains(err.Error(), "108 bytes") {
		t.Errorf("got %v, want the length told", err)
	}
}

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	f, err := qmp.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := fs.ModeSocket | 0o600; st.Mode() != want {
		t.Errorf("got mode %v, want %v", st.Mode(), want)
	}
	if g, err := qmp.Listen(path); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("listen again: %v, %v, want EADDRINUSE", g, err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the socket of another was removed: %v", err)
	}
	if _, err := qmp.Listen(filepath.Join(path, "s")); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("got %v, want ENOTDIR", err)
	}
}
