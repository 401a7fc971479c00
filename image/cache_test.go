package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

func writeFile(content string) func(string) error {
	return func(tmp string) error { return os.WriteFile(tmp, []byte(content), 0o644) }
}

// files returns the names of all that lies in a kind's folder, locks aside.
func files(t *testing.T, c *Cache, kind string) []string {
	t.Helper()
	all, err := os.ReadDir(filepath.Join(c.dir, kind))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range all {
		if filepath.Ext(e.Name()) != ".lock" {
			names = append(names, e.Name())
		}
	}
	return names
}

// TestEntryIsBuiltOnce lets many callers of two caches on one folder, as two
// processes have them, ask for the same entry.
func TestEntryIsBuiltOnce(t *testing.T) {
	dir := t.TempDir()
	var builds atomic.Int32
	var wg sync.WaitGroup
	for i := range 16 {
		c := Open(dir)
		wg.Go(func() {
			path, err := c.entry(t.Context(), "x", "key", func(tmp string) error {
				builds.Add(1)
				return os.WriteFile(tmp, []byte("content"), 0o644)
			})
			if err != nil {
				t.Errorf("caller %d: %v", i, err)
				return
			}
			if b, err := os.ReadFile(path); err != nil || string(b) != "content" {
				t.Errorf("caller %d: read %q, %v", i, b, err)
			}
		})
	}
	wg.Wait()
	if n := builds.Load(); n != 1 {
		t.Errorf("built %d times, want once", n)
	}
}

func TestFailedBuildLeavesNothing(t *testing.T) {
	broken := errors.New("broken")
	ctx, cancel := context.WithCancel(t.Context())
	builds := map[string]func(string) error{
		"file": func(tmp string) error { return errors.Join(os.WriteFile(tmp, nil, 0o644), broken) },
		"folder": func(tmp string) error {
			return errors.Join(os.MkdirAll(filepath.Join(tmp, "a/b"), 0o755), broken)
		},
		"cancelled": func(tmp string) error { cancel(); return os.WriteFile(tmp, nil, 0o644) },
	}
	for _, name := range []string{"file", "folder", "cancelled"} {
		t.Run(name, func(t *testing.T) {
			c := Open(t.TempDir())
			_, err := c.entry(ctx, "x", "key", builds[name])
			if !errors.Is(err, broken) && !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want the cause", err)
			}
			if left := files(t, c, "x"); len(left) != 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// TestKilledBuildIsClearedByTheNext puts there what a build that was killed
// leaves, and asks that the next one starts from nothing.
func TestKilledBuildIsClearedByTheNext(t *testing.T) {
	c := Open(t.TempDir())
	if err := os.MkdirAll(filepath.Join(c.dir, "x/.key.tmp/half"), 0o755); err != nil {
		t.Fatal(err)
	}
	if names, err := c.entries("x"); err != nil || len(names) != 0 {
		t.Errorf("entries: got %q, %v, want none: it is not complete", names, err)
	}
	path, err := c.entry(t.Context(), "x", "key", writeFile("whole"))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "whole" {
		t.Errorf("read %q, %v", b, err)
	}
	if left := files(t, c, "x"); !slices.Equal(left, []string{"key"}) {
		t.Errorf("folder holds %q, want the entry alone", left)
	}
}

func TestLockWaitsUntilContextEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	told := 0
	if _, err := lock(ctx, path, func() { told++; cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that the context was cancelled", err)
	}
	if told != 1 {
		t.Errorf("told %d times that there is something to wait for, want once", told)
	}
	unlock()
	again, err := lock(t.Context(), path, func() { t.Error("free lock: told to wait") })
	if err != nil {
		t.Fatal(err)
	}
	again()
}

// TestDigestKeepsPartsApart: no two lists of parts share a digest.
func TestDigestKeepsPartsApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.StringMatching(`[ab0-9:]{0,4}`), 0, 4)
		a, b := list.Draw(t, "a"), list.Draw(t, "b")
		if slices.Equal(a, b) != (Digest(a...) == Digest(b...)) {
			t.Fatalf("Digest(%q) and Digest(%q): same is %v", a, b, Digest(a...) == Digest(b...))
		}
	})
}

func TestEntryOfAReadOnlyCache(t *testing.T) {
	c := Open(t.TempDir())
	if _, err := c.entry(t.Context(), "x", "key", writeFile("content")); err != nil {
		t.Fatal(err)
	}
	// Locks can't be made any more; root may write anywhere, so take the file's
	// place instead of its permissions.
	lockPath := filepath.Join(c.dir, "x/.key.lock")
	if err := errors.Join(os.Remove(lockPath), os.Mkdir(lockPath, 0o555)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.entry(t.Context(), "x", "key", func(string) error { return errors.New("built again") }); err != nil {
		t.Errorf("complete entry: %v", err)
	}
}
