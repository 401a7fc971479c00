package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// many adds machines until they fill several pages.
func many(tx *Tx) error {
	for i := range 100 {
		m := Machine{Name: fmt.Sprintf("m%03d", i), Phase: Created, Cause: strings.Repeat("x", 200)}
		if err := tx.PutMachine(m); err != nil {
			return err
		}
	}
	return nil
}

func bytesOf(t *testing.T, s *Store) []byte {
	t.Helper()
	b, err := os.ReadFile(s.Path())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// withBytes returns a store whose state file is b.
func withBytes(t *testing.T, b []byte) *Store {
	t.Helper()
	s := New(t.TempDir())
	if err := os.WriteFile(s.Path(), b, 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSalvageOfASoundFileIsAllOfIt(t *testing.T) {
	m, leased, cooling, foreign, n := full()
	for schema := 1; schema <= int(newest()); schema++ {
		t.Run(fmt.Sprintf("schema%d", schema), func(t *testing.T) {
			s := New(t.TempDir())
			load(t, s, fmt.Sprintf("testdata/schema-%d.txt", schema))
			before := bytesOf(t, s)
			want := Salvage{Machines: []Machine{m}, Netnses: []Netns{n}, Leases: []Lease{cooling, foreign, leased},
				Schema: uint32(schema), Bytes: len(before)}
			if schema >= 2 {
				want.Leases = slices.Insert(want.Leases, 2, reserved())
			}
			got, err := s.Salvage(t.Context())
			if d := cmp.Diff(want, got); d != "" || err != nil {
				t.Errorf("%v, want - got +:\n%s", err, d)
			}
			if !bytes.Equal(before, bytesOf(t, s)) {
				t.Error("the file changed")
			}
		})
	}
	if got, err := New(t.TempDir()).Salvage(t.Context()); err != nil || !cmp.Equal(got, Salvage{}) {
		t.Errorf("no file: got %+v, %v", got, err)
	}
}

// TestSalvageLosesOnlyWhatIsDamaged spoils each page of a file in turn. A leaf
// costs its records and nothing else.
func TestSalvageLosesOnlyWhatIsDamaged(t *testing.T) {
	s := New(t.TempDir())
	update(t, s, fill)
	update(t, s, many)
	sound := bytesOf(t, s)
	const page = 4096
	most := 0
	for at := 2 * page; at < len(sound); at += page {
		b := bytes.Clone(sound)
		copy(b[at+8:], []byte{0xff, 0xff}) // its kind
		sv, err := withBytes(t, b).Salvage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(sv.Machines) < 101 && len(sv.Damage) == 0 {
			t.Errorf("page %d: %d of 101 machines, and no damage told", at/page, len(sv.Machines))
		}
		for _, err := range sv.Damage {
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), fmt.Sprintf("page %d:", at/page)) {
				t.Errorf("page %d: got %v, want ErrCorrupt and the page", at/page, err)
			}
		}
		if len(sv.Machines) < 101 && len(sv.Machines) > 70 && len(sv.Leases) == 4 {
			most++
		}
	}
	if most < 5 {
		t.Errorf("%d leaf pages cost their machines only, want at least 5", most)
	}
}

// TestSalvageGoesAroundOneBadRecord spoils values, not pages.
func TestSalvageGoesAroundOneBadRecord(t *testing.T) {
	tests := map[string]struct {
		spoil func(tx *Tx) error
		want  string
	}{
		"record":    {func(tx *Tx) error { return tx.setValue("bad", []byte("{"), bucketMachine) }, `machine "bad": `},
		"space":     {func(tx *Tx) error { return tx.setValue(keyMode, []byte("local"), bucketSpace, "local/a") }, `space "local/a": `},
		"schema":    {func(tx *Tx) error { return tx.setValue(keySchema, []byte{1}, bucketMeta) }, "meta/schema: "},
		"stray":     {func(tx *Tx) error { return tx.setValue("x", []byte{1}, "y", "z") }, "y/z/x: "},
		"no index":  {func(tx *Tx) error { return tx.remove("db", bucketSpace, "global", bucketOwner) }, `cid 500 in space global: state is damaged: index "space/global/owner/db" does not say so`},
		"bad index": {func(tx *Tx) error { return tx.setValue("x", nil, bucketSpace, "global", bucketOwner) }, `index "space/global/owner/x": state is damaged: no lease says that`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := New(t.TempDir())
			update(t, s, fill)
			update(t, s, tt.spoil)
			sv, err := s.Salvage(t.Context())
			if err != nil || len(sv.Damage) != 1 || !strings.HasPrefix(sv.Damage[0].Error(), tt.want) {
				t.Errorf("got %v, damage %v, want one that begins with %q", err, sv.Damage, tt.want)
			}
			if len(sv.Machines) != 1 || len(sv.Netnses) != 1 || len(sv.Leases) != 4 {
				t.Errorf("got %d machines, %d netns, %d leases, want 1, 1, 4", len(sv.Machines), len(sv.Netnses), len(sv.Leases))
			}
		})
	}
}

func TestSalvageAndRebuildLeaveANewerFileAlone(t *testing.T) {
	s := New(t.TempDir())
	update(t, s, fill)
	update(t, s, func(tx *Tx) error { return tx.setSchema(newest() + 1) })
	before := bytesOf(t, s)
	_, err1 := s.Salvage(t.Context())
	_, err2 := s.Rebuild(t.Context(), fill)
	for _, err := range []error{err1, err2} {
		if _, ok := errors.AsType[*SchemaError](err); !ok {
			t.Errorf("got %v, want *SchemaError", err)
		}
	}
	if !bytes.Equal(before, bytesOf(t, s)) {
		t.Error("the file changed")
	}
	if m, _ := filepath.Glob(s.Path() + ".*"); len(m) != 0 {
		t.Errorf("it left %q", m)
	}
}
