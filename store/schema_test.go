package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vmlaunch/vmlaunch/vsock"
)

// TestNewerFileIsRefusedUntouched sets a schema that no program has yet.
func TestNewerFileIsRefusedUntouched(t *testing.T) {
	s := New(t.TempDir())
	update(t, s, func(tx *Tx) error { return tx.setSchema(newest() + 1) })
	before, err := os.ReadFile(s.Path())
	if err != nil {
		t.Fatal(err)
	}
	want := SchemaError{Path: s.Path(), Have: newest() + 1, Want: newest()}
	for _, err := range []error{s.View(t.Context(), nothing), s.Update(t.Context(), fill)} {
		var got *SchemaError
		if !errors.As(err, &got) || *got != want {
			t.Errorf("got %v, want %v", err, &want)
		}
	}
	if after, err := os.ReadFile(s.Path()); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file changed (%v)", err)
	}
}

// rename is a migration of the test's own.
func rename(tx *Tx) error {
	m, err := tx.Machine("web")
	if err != nil {
		return err
	}
	m.Name = "renamed"
	return errors.Join(tx.DeleteMachine("web"), tx.PutMachine(m))
}

// migrateTo opens s as a program with these migrations would.
func migrateTo(t *testing.T, s *Store, steps []migration) error {
	t.Helper()
	f, err := openFile(s.Path(), readWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return f.migrate(steps)
}

// TestMigrationFailsCleanAtEveryStep lets each step fail in turn: the file must
// stay what it was.
func TestMigrationFailsCleanAtEveryStep(t *testing.T) {
	for n := 1; ; n++ {
		s := New(t.TempDir())
		update(t, s, fill)
		calls := 0
		step := func(do migration) migration {
			return func(tx *Tx) error {
				err := do(tx)
				if calls++; calls == n {
					return errors.Join(err, errInjected)
				}
				return err
			}
		}
		steps := append(migrations(), step(rename), step(func(tx *Tx) error { return tx.DeleteNetns("blue") }))
		err := migrateTo(t, s, steps)
		if err == nil {
			if n != 3 {
				t.Fatalf("went through with step %d failing", n)
			}
			checkMigrated(t, s, steps)
			return
		}
		if !errors.Is(err, errInjected) || !strings.Contains(err.Error(), fmt.Sprintf("from schema %d: ", int(newest())+n-1)) {
			t.Errorf("step %d: got %v, want the injected error and the schema", n, err)
		}
		if err := s.View(t.Context(), func(tx *Tx) error { _, err := tx.Machine("web"); return err }); err != nil {
			t.Errorf("step %d: the old layout is gone: %v", n, err)
		}
	}
}

// checkMigrated asks for the new layout in the file and the old one in the copy.
func checkMigrated(t *testing.T, s *Store, steps []migration) {
	t.Helper()
	f, err := openFile(s.Path(), readOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tx, err := f.begin(false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.rollback(tx)
	if have, err := tx.schema(); err != nil || have != uint32(len(steps)) {
		t.Errorf("schema is %d (%v), want %d", have, err, len(steps))
	}
	if _, err := tx.Machine("renamed"); err != nil {
		t.Error(err)
	}
	kept := fmt.Sprintf("%s.schema-%d", s.Path(), newest())
	old := New(t.TempDir())
	b, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(old.Path(), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := old.View(t.Context(), func(tx *Tx) error { _, err := tx.Machine("web"); return err }); err != nil {
		t.Errorf("the kept copy: %v", err)
	}
	if info, err := os.Stat(kept); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the kept copy is %v (%v), want 0600", info.Mode(), err)
	}
}

func TestMigratingTwiceDoesNothing(t *testing.T) {
	s := New(t.TempDir())
	update(t, s, fill)
	never := func(*Tx) error { t.Error("a step ran again"); return nil }
	steps := migrations()
	for i := range steps {
		steps[i] = never
	}
	if err := migrateTo(t, s, steps); err != nil {
		t.Fatal(err)
	}
	if m, _ := filepath.Glob(s.Path() + ".*"); len(m) != 0 {
		t.Errorf("it left %q", m)
	}
}

// TestFixturesOfEverySchemaAreRead builds a file of each released schema from its
// dump under testdata and reads it with today's program. Fixtures stay for ever.
func TestFixturesOfEverySchemaAreRead(t *testing.T) {
	for n := 1; n <= int(newest()); n++ {
		t.Run(fmt.Sprintf("schema%d", n), func(t *testing.T) {
			s := New(t.TempDir())
			load(t, s, fmt.Sprintf("testdata/schema-%d.txt", n))
			wantM, leased, cooling, foreign, wantN := full()
			var later []Lease
			if n >= 2 {
				later = []Lease{reserved()}
			}
			err := s.View(t.Context(), func(tx *Tx) error {
				m, err1 := tx.Machine("web")
				a, err2 := tx.Lease(leased.Space, leased.CID)
				b, err3 := tx.Leases(Global)
				ns, err4 := tx.Netns("blue")
				for _, d := range []string{
					cmp.Diff(wantM, m), cmp.Diff(leased, a), cmp.Diff(append([]Lease{cooling, foreign}, later...), b), cmp.Diff(wantN, ns),
				} {
					if d != "" {
						t.Errorf("want - got +:\n%s", d)
					}
				}
				return errors.Join(err1, err2, err3, err4)
			})
			if err := errors.Join(err, s.Check(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestMigrationKeepsOneCIDForAMachine is about files in which a machine has two
// in one space, which schema 2 has no form for.
func TestMigrationKeepsOneCIDForAMachine(t *testing.T) {
	s := New(t.TempDir())
	load(t, s, "testdata/schema-1-two-cids.txt")
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	for space, want := range map[Space]vsock.CID{Global: 6, "local/a/1": 9} {
		err := s.View(t.Context(), func(tx *Tx) error {
			c, err := tx.Owned(space, "web")
			if err != nil || c != want {
				t.Errorf("space %s: machine has cid %d (%v), want %d", space, c, err, want)
			}
			ls, err := tx.Leases(space)
			if err != nil || len(ls) != 1 {
				t.Errorf("space %s has %v (%v), want one lease", space, ls, err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestOldProgramRefusesWhatANewOneMigrated lets a program that lacks the last
// migration wait for the lock while another one runs it.
func TestOldProgramRefusesWhatANewOneMigrated(t *testing.T) {
	s := New(t.TempDir())
	load(t, s, fmt.Sprintf("testdata/schema-%d.txt", newest()-1))
	path := filepath.Join(s.dir, lockName)
	held, err := lock(t.Context(), path, makeIt)
	if err != nil {
		t.Fatal(err)
	}
	old := start(t, s, "old", nil)
	waitFor(t, "old program to queue", func() bool { return queued(t, path) == 1 })
	if err := migrateTo(t, s, migrations()); err != nil {
		t.Fatal(err)
	}
	before := bytesOf(t, s)
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("error: state %s: schema %d, want at most %d: a newer vmlaunch wrote it (use that one, or move the file away)",
		s.Path(), newest(), newest()-1)
	if got := old.line(); got != want {
		t.Errorf("the old program says %q, want %q", got, want)
	}
	if !bytes.Equal(before, bytesOf(t, s)) {
		t.Error("the old program changed the file")
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}
