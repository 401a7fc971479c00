package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRebuildKeepsTheOldFile(t *testing.T) {
	s := New(filepath.Join(t.TempDir(), "state"))
	if kept, err := s.Rebuild(t.Context(), fill); kept != "" || err != nil {
		t.Fatalf("without a file: kept %q, %v", kept, err)
	}
	seen := map[string]bool{}
	for range 3 { // more than one in a second
		if err := os.WriteFile(s.Path(), []byte("damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
		kept, err := s.Rebuild(t.Context(), fill)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(kept); string(b) != "damaged" || seen[kept] {
			t.Errorf("kept %q (again: %v) says %q (%v)", kept, seen[kept], b, err)
		}
		seen[kept] = true
		if err := s.Check(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestFileThatTheDiskCannotReadIsDamage has one whose first byte gives EIO.
func TestFileThatTheDiskCannotReadIsDamage(t *testing.T) {
	s := New(t.TempDir())
	if err := os.Symlink("/proc/self/mem", s.Path()); err != nil {
		t.Fatal(err)
	}
	if sv, err := s.Salvage(t.Context()); err != nil || !strings.Contains(fmt.Sprint(sv.Damage), "state is damaged: input/output error") {
		t.Errorf("got %v, damage %v, want the disk's error", err, sv.Damage)
	}
	if _, err := s.Backup(t.Context()); !errors.Is(err, ErrCorrupt) {
		t.Errorf("backup: got %v, want ErrCorrupt", err)
	}
	kept, err := s.Rebuild(t.Context(), fill)
	if target, _ := os.Readlink(kept); err != nil || target != "/proc/self/mem" {
		t.Errorf("kept %q, which leads to %q, %v", kept, target, err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestKeptFilesAreNeverOverwritten asks for two names of the same second.
func TestKeptFilesAreNeverOverwritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), fileName)
	now := time.Date(2026, 11, 25, 20, 0, 0, 0, time.UTC)
	for _, want := range []string{"", "-2", "-3"} {
		if err := os.WriteFile(path, []byte("x"+want), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := keep(path, "damaged", now)
		if want := path + ".damaged-20261125T200000Z" + want; got != want || err != nil {
			t.Errorf("kept as %q (%v), want %q", got, err, want)
		}
		if b, err := os.ReadFile(got); string(b) != "x"+want {
			t.Errorf("%s says %q (%v)", got, b, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRebuildThatFailsChangesNothing(t *testing.T) {
	s := New(t.TempDir())
	update(t, s, fill)
	before := bytesOf(t, s)
	tests := map[string]func(*Tx) error{
		"error": func(tx *Tx) error { return errors.Join(tx.DeleteMachine("web"), errInjected) },
		"panic": func(*Tx) error { panic("mine") },
	}
	for name, fn := range tests {
		t.Run(name, func(t *testing.T) {
			func() {
				defer func() { _ = recover() }()
				if kept, err := s.Rebuild(t.Context(), fn); kept != "" || !errors.Is(err, errInjected) {
					t.Errorf("kept %q, %v, want the function's error", kept, err)
				}
			}()
			if !bytes.Equal(before, bytesOf(t, s)) {
				t.Error("the file changed")
			}
			if m, _ := filepath.Glob(s.Path() + ".*"); len(m) != 0 {
				t.Errorf("it left %q", m)
			}
			update(t, s, nothing) // the lock is free
		})
	}
}

// TestKilledRebuildLeavesOneOfTheTwo kills a process amid its rebuilds, again
// and again. Each file that is there then is whole.
func TestKilledRebuildLeavesOneOfTheTwo(t *testing.T) {
	s := New(t.TempDir())
	update(t, s, count)
	for round := range 10 {
		c := start(t, s, "rebuild", nil)
		for range round + 1 {
			c.number()
		}
		c.kill()
		if n := counted(t, s); n < 1 {
			t.Fatalf("round %d: counted %d", round, n)
		}
		kept, err := filepath.Glob(s.Path() + ".damaged-*")
		if err != nil || len(kept) == 0 {
			t.Fatalf("kept %q (%v)", kept, err)
		}
		for _, path := range append(kept, s.Path()) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if sv, err := salvage(path, b); err != nil || sv.Damage != nil || len(sv.Machines) != 1 {
				t.Errorf("round %d: %s: %v %v", round, path, err, sv.Damage)
			}
		}
	}
}

// TestRebuildGoesOnCountingGenerations is about leases that were salvaged.
func TestRebuildGoesOnCountingGenerations(t *testing.T) {
	s := New(t.TempDir())
	_, err := s.Rebuild(t.Context(), func(tx *Tx) error {
		l := reserved()
		l.Generation = 41
		return tx.PutLease(l)
	})
	if err != nil {
		t.Fatal(err)
	}
	update(t, s, func(tx *Tx) error {
		n, err := tx.Generation()
		if n != 42 {
			t.Errorf("the next generation is %d, want 42", n)
		}
		return err
	})
}
