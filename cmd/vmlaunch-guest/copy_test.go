package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/guest"
)

// These copy by the client of package guest, the agent and this machine's tar.

func TestCopyThereAndBack(t *testing.T) {
	c := startAgent(t).client(t)
	here, there, back := t.TempDir(), t.TempDir(), t.TempDir()
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	err := errors.Join(os.MkdirAll(filepath.Join(here, "src/sub"), 0o755),
		os.WriteFile(filepath.Join(here, "src/sub/big"), big, 0o640), os.Symlink("sub/big", filepath.Join(here, "src/link")),
		os.WriteFile(filepath.Join(here, "-one"), []byte("1"), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Put(t.Context(), there, filepath.Join(here, "src"), filepath.Join(here, "-one")); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(t.Context(), back, filepath.Join(there, "src"), filepath.Join(there, "-one")); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{there, back} {
		if got, err := os.ReadFile(filepath.Join(dir, "src/link")); err != nil || !bytes.Equal(got, big) {
			t.Errorf("%s: %d bytes by the link (%v), want %d", dir, len(got), err, len(big))
		}
		for name, want := range map[string]fs.FileMode{"src": fs.ModeDir | 0o755, "src/sub/big": 0o640, "src/link": fs.ModeSymlink | 0o777, "-one": 0o755} {
			if info, err := os.Lstat(filepath.Join(dir, name)); err != nil || info.Mode() != want {
				t.Errorf("%s/%s: %v (%v), want %v", dir, name, info, err, want)
			}
		}
	}
}

func TestCopyUnderAnotherName(t *testing.T) {
	c := startAgent(t).client(t)
	here, there := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(here, "a"), []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.Put(t.Context(), there+"/b", filepath.Join(here, "a")); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(t.Context(), filepath.Join(here, "c"), there+"/b"); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(here, "c")); err != nil || string(got) != "text" {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestCopyKeepsHoles copies a file of a GiB with little in it, one that cannot be
// written and has an odd name, and one that is nothing but a hole.
func TestCopyKeepsHoles(t *testing.T) {
	a := startAgent(t)
	c := a.client(t)
	here, there := t.TempDir(), t.TempDir()
	const size = 1<<30 + 3
	text := map[int64][]byte{5 << 20: bytes.Repeat([]byte("0123456789abcdef"), 1<<18), size - 3: []byte("end")}
	odd := "it's\nfull of *"
	at := time.Unix(1e9, 0)
	if err := os.Mkdir(here+"/src", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{odd: 0o444, "hole": 0o600 | fs.ModeSetuid} {
		f, err := os.Create(filepath.Join(here, "src", name))
		if err != nil {
			t.Fatal(err)
		}
		for at, b := range text {
			if name == odd {
				_, err = f.WriteAt(b, at)
			}
		}
		if err := errors.Join(err, f.Truncate(size), f.Chmod(mode), f.Close(), os.Chtimes(f.Name(), at, at)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(here+"/src/plain", []byte("text"), 0o644), os.Chtimes(here+"/src", at, at)); err != nil {
		t.Fatal(err)
	}
	if err := c.Put(t.Context(), there+"/copy", here+"/src"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", odd, "hole", "plain"} {
		want, err := os.Stat(filepath.Join(here, "src", name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.Stat(filepath.Join(there, "copy", name))
		if err != nil {
			t.Fatal(err)
		}
		if got.Mode() != want.Mode() || got.Size() != want.Size() || name != "plain" && !got.ModTime().Equal(at) {
			t.Errorf("%q: %v %d %v, want %v %d %v", name, got.Mode(), got.Size(), got.ModTime(), want.Mode(), want.Size(), at)
		}
		if blocks := got.Sys().(*syscall.Stat_t).Blocks; blocks > 10<<11 {
			t.Errorf("%q takes %d blocks", name, blocks)
		}
	}
	f, err := os.Open(filepath.Join(there, "copy", odd))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for at, want := range text {
		got := make([]byte, len(want))
		if _, err := f.ReadAt(got, at); err != nil || !bytes.Equal(got, want) {
			t.Errorf("at %d: other bytes than were sent, %v", at, err)
		}
	}
	for _, id := range a.fileServers(t) {
		t.Errorf("pid %d still serves files", id.PID)
	}
}

// TestCopyOfHolesFails asks that what can't be unpacked leaves no server.
func TestCopyOfHolesFails(t *testing.T) {
	a := startAgent(t)
	c := a.client(t)
	here, there := t.TempDir(), t.TempDir()
	if err := errors.Join(os.WriteFile(here+"/sparse", nil, 0o600), os.Truncate(here+"/sparse", 1<<20), os.Mkdir(there+"/sparse", 0o700),
		os.WriteFile(there+"/sparse/file", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := c.Put(t.Context(), there, here+"/sparse"); err == nil || !strings.Contains(err.Error(), "sparse") {
		t.Errorf("in the place of a folder: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Put(ctx, there+"/other", here+"/sparse"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for _, id := range a.fileServers(t) {
		t.Errorf("pid %d still serves files", id.PID)
	}
}

// TestCopyOfHolesIsCutOff loses the connection while the data of such a file goes.
func TestCopyOfHolesIsCutOff(t *testing.T) {
	a := startAgent(t)
	conn := &shortLived{Conn: a.dial(t), left: 4 << 20}
	c, err := guest.NewClient(t.Context(), conn, guest.Key{Private: a.keys.Client, Host: a.hostKey(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	file := filepath.Join(t.TempDir(), "sparse")
	if err := errors.Join(os.WriteFile(file, bytes.Repeat([]byte("x"), 8<<20), 0o600), os.Truncate(file, 16<<20)); err != nil {
		t.Fatal(err)
	}
	if err := c.Put(t.Context(), t.TempDir(), file); !errors.Is(err, guest.ErrGone) {
		t.Errorf("cut off: %v, want ErrGone", err)
	}
	for _, id := range a.fileServers(t) {
		wait(t, id)
	}
}

// A shortLived connection is closed once some bytes were written.
type shortLived struct {
	net.Conn
	left int
}

func (s *shortLived) Write(p []byte) (int, error) {
	if s.left -= len(p); s.left < 0 {
		_ = s.Close()
	}
	return s.Conn.Write(p)
}

func TestCopyFailures(t *testing.T) {
	c := startAgent(t).client(t)
	here, there := t.TempDir(), t.TempDir()
	file := filepath.Join(here, "file")
	if err := os.WriteFile(file, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for name, tt := range map[string]struct {
		err  error
		kind error
		text string
	}{
		"no source here":        {c.Put(ctx, there, here+"/none"), fs.ErrNotExist, "none"},
		"no folder there":       {c.Put(ctx, there+"/none/", file), fs.ErrNotExist, there + "/none/"},
		"no parent there":       {c.Put(ctx, there+"/none/b", file), nil, "none"},
		"two as one":            {c.Put(ctx, there+"/b", file, here), fs.ErrNotExist, there + "/b"},
		"no source there":       {c.Get(ctx, here, there+"/none"), fs.ErrNotExist, "guest's " + there + "/none"},
		"no folder here":        {c.Get(ctx, here+"/none/", there), fs.ErrNotExist, here + "/none/"},
		"the guest's root":      {c.Get(ctx, here, "/"), fs.ErrInvalid, "name a file"},
		"out of reach of a tar": {c.Get(ctx, here, "/dev/null"), fs.ErrInvalid, "neither file, folder nor link"},
	} {
		if tt.err == nil || tt.kind != nil && !errors.Is(tt.err, tt.kind) || !strings.Contains(tt.err.Error(), tt.text) {
			t.Errorf("%s: %v, want %v and %q", name, tt.err, tt.kind, tt.text)
		}
	}
	if left, err := os.ReadDir(there); err != nil || len(left) > 0 {
		t.Errorf("left there: %v, %v", left, err)
	}
}
