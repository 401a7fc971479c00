package store

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vmlaunch/vmlaunch/internal/proc"
)

// TestBackupIsOneStateWhileOthersWork takes copies while a process changes the
// file all the time.
func TestBackupIsOneStateWhileOthersWork(t *testing.T) {
	s := New(t.TempDir())
	c := start(t, s, "count", nil)
	last := 0
	for range 30 {
		told := c.number()
		b, err := s.Backup(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		copied := withBytes(t, b)
		if err := copied.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := counted(t, copied); n < told || n < last {
			t.Errorf("the copy says %d, want at least %d and %d", n, told, last)
		} else {
			last = n
		}
	}
}

func TestBackupFile(t *testing.T) {
	s := New(t.TempDir())
	path := filepath.Join(t.TempDir(), "copy.db")
	if _, err := s.BackupTo(t.Context(), path, false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no state: got %v, want fs.ErrNotExist", err)
	}
	update(t, s, fill)
	n, err := s.BackupTo(t.Context(), path, false)
	if info, err2 := os.Stat(path); err != nil || err2 != nil || int64(n) != info.Size() || info.Mode().Perm() != 0o600 {
		t.Errorf("got %d, %v, and %v (%v), want a file of that size, 0600", n, err, info, err2)
	}
	before, _ := os.ReadFile(path)
	update(t, s, many)
	if _, err := s.BackupTo(t.Context(), path, false); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "--force") {
		t.Errorf("got %v, want fs.ErrExist and the way out", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the first copy was changed")
	}
	if _, err := s.BackupTo(t.Context(), path, true); err != nil {
		t.Error(err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(bytesOf(t, s), after) {
		t.Error("the second copy is not the state")
	}
	if err := os.WriteFile(s.Path(), bytesOf(t, s)[:9000], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.BackupTo(t.Context(), path, true); !errors.Is(err, ErrCorrupt) {
		t.Errorf("damaged: got %v, want ErrCorrupt", err)
	}
	if dir, _ := os.ReadDir(filepath.Dir(path)); len(dir) != 1 {
		t.Errorf("beside the copy there is %v", dir)
	}
}

func TestRestoreComesBackToTheCopy(t *testing.T) {
	s := New(filepath.Join(t.TempDir(), "state"))
	other := New(t.TempDir())
	update(t, other, fill)
	path := filepath.Join(t.TempDir(), "copy.db")
	if _, err := other.BackupTo(t.Context(), path, false); err != nil {
		t.Fatal(err)
	}
	if kept, err := s.Restore(t.Context(), path, false); kept != "" || err != nil {
		t.Errorf("no state before: kept %q, %v", kept, err)
	}
	update(t, s, many)
	before := bytesOf(t, s)
	kept, err := s.Restore(t.Context(), path, false)
	if err != nil || !strings.HasPrefix(kept, s.Path()+".before-restore-") {
		t.Fatalf("kept %q, %v", kept, err)
	}
	if b, err := os.ReadFile(kept); err != nil || !bytes.Equal(b, before) {
		t.Errorf("%s is not the state before (%v)", kept, err)
	}
	want, _ := other.Salvage(t.Context())
	if got, err := s.Salvage(t.Context()); err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v, want - got +:\n%s", err, cmp.Diff(want, got))
	}
	update(t, s, count)
}

func TestRestoreRefuses(t *testing.T) {
	self, err := proc.Self()
	if err != nil {
		t.Fatal(err)
	}
	machine := func(name, uuid string, q proc.ID) func(*Tx) error {
		return func(tx *Tx) error { return tx.PutMachine(Machine{Name: name, UUID: uuid, Phase: Running, QEMU: q}) }
	}
	dead := proc.ID{PID: self.PID, Start: self.Start + 1, Boot: self.Boot}
	write := func(fn func(*Tx) error) []byte {
		s := New(t.TempDir())
		update(t, s, fn)
		return bytesOf(t, s)
	}
	tests := map[string]struct {
		now  func(*Tx) error
		file []byte
		kind error  // what it is refused as
		want string // and what it says
	}{
		"unknown":   {machine("web", "u1", self), write(machine("web", "u2", self)), fs.ErrExist, "machines that run are not in it: web (stop them, or --force)"},
		"known":     {machine("web", "u1", self), write(machine("web", "u1", dead)), nil, ""},
		"dead":      {machine("web", "u1", dead), write(fill), nil, ""},
		"damaged":   {fill, write(fill)[:9000], ErrCorrupt, "restore "},
		"no state":  {fill, []byte("hello"), ErrCorrupt, "restore "},
		"empty":     {fill, nil, ErrCorrupt, "the file is empty"},
		"bad index": {fill, write(func(tx *Tx) error { return errors.Join(fill(tx), tx.remove("db", bucketSpace, "global", bucketOwner)) }), ErrCorrupt, "does not say so"},
		"newer":     {fill, write(func(tx *Tx) error { return tx.setSchema(newest() + 1) }), &SchemaError{}, "a newer vmlaunch wrote it"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, path := New(t.TempDir()), filepath.Join(t.TempDir(), "copy.db")
			update(t, s, tt.now)
			before := bytesOf(t, s)
			if err := os.WriteFile(path, tt.file, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := s.Restore(t.Context(), path, false)
			if tt.kind == nil {
				if err != nil {
					t.Errorf("got %v, want it restored", err)
				}
				return
			}
			if _, newer := errors.AsType[*SchemaError](err); err == nil || !errors.Is(err, tt.kind) && !newer || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %v with %q", err, tt.kind, tt.want)
			}
			if !bytes.Equal(before, bytesOf(t, s)) {
				t.Error("the state changed")
			}
			if m, _ := filepath.Glob(s.Path() + ".*"); len(m) != 0 {
				t.Errorf("it left %q", m)
			}
			if name != "unknown" {
				return
			}
			if kept, err := s.Restore(t.Context(), path, true); err != nil || kept == "" {
				t.Errorf("forced: kept %q, %v", kept, err)
			}
		})
	}
}
