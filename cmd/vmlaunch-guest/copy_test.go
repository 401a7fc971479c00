package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
