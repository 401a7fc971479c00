package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// fullDiskJobs are the ways to write to a state file, each with what it has to
// do on a full disk.
func fullDiskJobs() map[string]func(ctx context.Context, s *Store) error {
	return map[string]func(ctx context.Context, s *Store) error{
		"create": func(ctx context.Context, s *Store) error { return s.Update(ctx, fill) },
		"update": func(ctx context.Context, s *Store) error {
			return s.Update(ctx, func(tx *Tx) error { return errors.Join(count(tx), many(tx)) })
		},
		"migrate": func(ctx context.Context, s *Store) error {
			return s.View(ctx, func(tx *Tx) error { _, err := tx.Machine("web"); return err })
		},
		"rebuild": func(ctx context.Context, s *Store) error { _, err := s.Rebuild(ctx, many); return err },
		"restore": func(ctx context.Context, s *Store) error {
			_, err := s.Restore(ctx, os.Getenv("TMPDIR")+"/copy.db", false)
			return err
		},
		"backup": func(ctx context.Context, s *Store) error {
			_, err := s.BackupTo(ctx, filepath.Join(s.dir, "copy.db"), false)
			return err
		},
	}
}

// TestDiskFullAtEveryWrite gives each a file system of its own with more and more
// room, a page at a time, until it goes through. Until then the old state stands,
// and there is nothing else.
func TestDiskFullAtEveryWrite(t *testing.T) {
	testenv.Require(t, testenv.Root)
	for job := range fullDiskJobs() {
		t.Run(job, func(t *testing.T) {
			s := New(t.TempDir())
			if job == "migrate" {
				load(t, s, "testdata/schema-1.txt")
			} else if job != "create" {
				update(t, s, fill)
			}
			copied := t.TempDir()
			other := New(t.TempDir())
			update(t, other, many)
			if err := os.WriteFile(copied+"/copy.db", bytesOf(t, other), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("TMPDIR", copied)
			c := start(t, s, "room-"+job, private())
			failed := 0
			for line := c.line(); line != "done"; line = c.line() {
				if failed++; line != "failed clean" {
					t.Fatalf("with %d pages of room: %s", failed-1, line)
				}
			}
			if failed < 4 {
				t.Errorf("%d tries without enough room, want at least 4", failed)
			}
			t.Logf("%d tries without enough room", failed)
		})
	}
}

// playRoom is the child of that test.
func playRoom(ctx context.Context, job string, s *Store) error {
	before, err := os.ReadFile(s.Path())
	if err != nil && job != "create" {
		return err
	}
	for room := 0; ; room++ {
		done, err := tryRoom(ctx, job, s, before, room)
		if err != nil {
			return err
		}
		if done {
			fmt.Println("done")
			return nil
		}
		fmt.Println("failed clean")
	}
}

// tryRoom does job on a file system that has room for so many pages beside the
// state, before, and asks for the old state if that was not enough.
func tryRoom(ctx context.Context, job string, s *Store, before []byte, room int) (done bool, err error) {
	used := (len(before) + pageSize - 1) / pageSize
	if err := mountTmpfs(s.dir, 0, fmt.Sprint((used+room+1)*pageSize)); err != nil { // 0 would be no bound
		return false, err
	}
	defer func() { err = errors.Join(err, unix.Unmount(s.dir, unix.MNT_DETACH)) }()
	files := []string{fileName, lockName}
	if before != nil {
		if err := os.WriteFile(s.Path(), before, 0o600); err != nil {
			return false, err
		}
	}
	fault := fullDiskJobs()[job](ctx, s)
	if fault == nil {
		return true, s.Check(ctx)
	}
	if !strings.Contains(fault.Error(), "no space left on device") {
		return false, fmt.Errorf("failed otherwise: %w", fault)
	}
	after, err := os.ReadFile(s.Path())
	if err != nil && before != nil || !sameState(before, after) {
		return false, fmt.Errorf("the old state is gone after: %w", fault)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil || slices.ContainsFunc(entries, func(e os.DirEntry) bool { return !slices.Contains(files, e.Name()) }) {
		return false, fmt.Errorf("it left %v (%v) after: %w", entries, err, fault)
	}
	return false, nil
}

// sameState reports whether two files say the same. They may differ in free
// pages, and one without records is as good as none.
func sameState(a, b []byte) bool {
	var says [2]Salvage
	for i, file := range [][]byte{a, b} {
		if file == nil {
			continue
		}
		sv, err := sane("", file)
		if err != nil {
			return false
		}
		says[i] = Salvage{Machines: sv.Machines, Netnses: sv.Netnses, Leases: sv.Leases}
	}
	return cmp.Equal(says[0], says[1])
}
