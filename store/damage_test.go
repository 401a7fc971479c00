package store

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// use does what commands do: read everything, then write something.
func use(t *testing.T, s *Store) error {
	t.Helper()
	return errors.Join(s.View(t.Context(), readAll), s.Check(t.Context()), s.Update(t.Context(), func(tx *Tx) error {
		m, _, _, _, _ := full()
		return errors.Join(tx.DeleteMachine("web"), tx.PutMachine(m), tx.DeleteLease(Global, 7))
	}))
}

func readAll(tx *Tx) error {
	_, machines := tx.Machines()
	_, netnses := tx.Netnses()
	spaces, err := tx.Spaces()
	errs := []error{machines, netnses, err}
	for _, s := range spaces {
		_, err := tx.Leases(s)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func TestFileThatIsNoStateIsRefused(t *testing.T) {
	tests := map[string]struct{ content, want string }{
		"empty":     {"", "the file is empty, vmlaunch never leaves it so"},
		"text":      {"hello\n", ""},
		"long text": {strings.Repeat("hello ", 10000), "invalid database"},
		"zeros":     {string(make([]byte, 16384)), "invalid database"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := New(t.TempDir())
			if err := os.WriteFile(s.Path(), []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, err := range []error{s.View(t.Context(), nothing), s.Update(t.Context(), fill)} {
				if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), s.Path()) {
					t.Errorf("got %v, want ErrCorrupt, the path, and %q", err, tt.want)
				}
			}
			if got, err := os.ReadFile(s.Path()); err != nil || string(got) != tt.content {
				t.Errorf("the file was changed (%v)", err)
			}
		})
	}
}

func TestForeignDatabaseIsRefused(t *testing.T) {
	s := New(t.TempDir())
	db, err := bolt.Open(s.Path(), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{s.View(t.Context(), nothing), s.Update(t.Context(), fill)} {
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "no schema") {
			t.Errorf("got %v, want ErrCorrupt for a file without a schema", err)
		}
	}
}

// TestDamageIsAnErrorNeverACrash overwrites each page in turn, in three ways,
// and cuts the file after each. Some damage goes unnoticed; none may bring down
// the process, keep a lock, or keep a descriptor.
func TestDamageIsAnErrorNeverACrash(t *testing.T) {
	origin := New(t.TempDir())
	update(t, origin, fill)
	update(t, origin, many) // pages below a branch
	sound, err := os.ReadFile(origin.Path())
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	ways := map[string]func(b []byte, at int) []byte{
		"zeros": func(b []byte, at int) []byte { clear(b[at : at+page]); return b },
		"ones":  func(b []byte, at int) []byte { copy(b[at:], bytes.Repeat([]byte{0xff}, page)); return b },
		"shift": func(b []byte, at int) []byte { copy(b[at+16:at+page], bytes.Clone(b[at:at+page-16])); return b },
		"cut":   func(b []byte, at int) []byte { return b[:at] },
	}
	noticed, before := 0, openFiles(t)
	for way, damage := range ways {
		for at := 0; at+page <= len(sound); at += page {
			s := New(t.TempDir())
			if err := os.WriteFile(s.Path(), damage(bytes.Clone(sound), at), 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time meets the lock, if the first kept it
				err := use(t, s)
				if err == nil {
					continue
				}
				noticed++
				if !errors.Is(err, ErrCorrupt) {
					t.Errorf("%s at page %d: got %v, want ErrCorrupt", way, at/page, err)
				}
				if errors.Is(err, ErrLocked) {
					t.Errorf("%s at page %d: the lock was kept", way, at/page)
				}
			}
		}
	}
	if noticed == 0 {
		t.Error("no damage was noticed")
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files open, want %d", after, before)
	}
}

// TestRecordsAreCrossChecked writes records that are JSON but not ours.
func TestRecordsAreCrossChecked(t *testing.T) {
	tests := map[string]struct{ bucket, key, value, want string }{
		"not JSON":      {bucketMachine, "web", "{", `machine "web": state is damaged: unexpected EOF`},
		"other name":    {bucketMachine, "web", `{"name":"db","spec":{"name":"db"},"phase":"running"}`, `it stands under the key "web"`},
		"unknown field": {bucketMachine, "web", `{"name":"web","phase":"running","x":1}`, `unknown field "x"`},
		"two values":    {bucketNetns, "blue", `{"name":"blue"} {}`, "more than one JSON value"},
		"bad phase":     {bucketMachine, "web", `{"name":"web","phase":"lost"}`, `phase is "lost"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := New(t.TempDir())
			update(t, s, func(tx *Tx) error { return tx.setValue(tt.key, []byte(tt.value), tt.bucket) })
			if err := s.Check(t.Context()); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want ErrCorrupt with %q", err, tt.want)
			}
		})
	}
	t.Run("space", func(t *testing.T) {
		s := New(t.TempDir())
		update(t, s, func(tx *Tx) error { return tx.setValue(keyMode, []byte("local"), bucketSpace, "local/a") })
		if err := s.Check(t.Context()); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), `space "local/a"`) {
			t.Errorf("got %v, want ErrCorrupt", err)
		}
	})
	t.Run("index of no CID", func(t *testing.T) {
		s := New(t.TempDir())
		update(t, s, fill)
		update(t, s, func(tx *Tx) error { return tx.setValue("x", []byte{0, 0, 0, 0}, bucketSpace, "global", bucketOwner) })
		err := s.View(t.Context(), func(tx *Tx) error { _, err := tx.Owned(Global, "x"); return err })
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), `index owner of "x" in space global`) {
			t.Errorf("got %v, want ErrCorrupt", err)
		}
	})
	t.Run("lease of another space", func(t *testing.T) {
		s := New(t.TempDir())
		_, leased, cooling, _, _ := full()
		cooling.Space = leased.Space
		update(t, s, func(tx *Tx) error { return leaseShelf(Global).put(tx, cooling) })
		if err := s.Check(t.Context()); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "it is a lease of space local/") {
			t.Errorf("got %v, want ErrCorrupt", err)
		}
	})
}

func TestMissingDirectoryIsNoDamage(t *testing.T) {
	s := New(t.TempDir() + "/file/state")
	if err := os.WriteFile(strings.TrimSuffix(s.dir, "/state"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := s.Update(t.Context(), fill)
	if err == nil || errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("got %v, want: not a directory", err)
	}
	if errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v, which is not about permissions", err)
	}
}
