package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	bolt "go.etcd.io/bbolt"
)

// TestPageThatLeadsBackIsReadOnce makes a branch its own child, which bbolt would
// follow for ever.
func TestPageThatLeadsBackIsReadOnce(t *testing.T) {
	s := New(t.TempDir())
	update(t, s, many)
	b := bytesOf(t, s)
	for at := 2 * pageSize; at < len(b); at += pageSize {
		if binary.NativeEndian.Uint16(b[at+8:]) == branchPage {
			binary.NativeEndian.PutUint64(b[at+16+8:], uint64(at/pageSize)) // of its first element
		}
	}
	sv, err := salvage(s.Path(), b)
	if err != nil || len(sv.Damage) == 0 || !strings.Contains(sv.Damage[0].Error(), "is used twice") {
		t.Errorf("got %v, damage %v, want a page that is used twice", err, sv.Damage)
	}
	if n := len(sv.Machines); n < 80 || n == 100 {
		t.Errorf("%d machines, want all of 100 but those of one leaf", n)
	}
}

// TestPagesAreHeldAgainstEachOther changes one word of a sound file in places that
// no record is in.
func TestPagesAreHeldAgainstEachOther(t *testing.T) {
	s := New(t.TempDir())
	for _, fn := range []func(*Tx) error{fill, many, count, count} { // pages are free now
		update(t, s, fn)
	}
	sound := bytesOf(t, s)
	r := &reader{b: sound}
	if !r.findMeta() {
		t.Fatal("no meta page")
	}
	meta, free, root := int(r.meta.Tx%2)*pageSize, int(r.meta.Freelist)*pageSize, int(r.meta.Root)*pageSize
	word := binary.NativeEndian
	tests := map[string]struct {
		change func(b []byte)
		want   string
	}{
		"none":              {func([]byte) {}, ""},
		"used page is free": {func(b []byte) { word.PutUint64(b[free+16:], r.meta.Root) }, "list of free pages: state is damaged: page"},
		"page is lost":      {func(b []byte) { b[free+10]-- }, "1 pages are neither used nor free"},
		"list too long":     {func(b []byte) { word.PutUint16(b[free+10:], 0xfffe) }, "65534 of them don't fit into it"},
		"list is no list":   {func(b []byte) { b[free+8] = leafPage }, "it is of kind 0x2"},
		"another page":      {func(b []byte) { b[root]++ }, "it says that it is page"},
		"too many elements": {func(b []byte) { word.PutUint16(b[root+10:], 0xffff) }, "bucket /: state is damaged: page"},
		"keys out of order": {func(b []byte) { copy(b[root+16:root+32], sound[root+32:root+48]); b[root+20] += 16 }, `key "meta" stands behind "meta"`},
		"long value":        {func(b []byte) { word.PutUint32(b[root+28:], pageSize) }, "reaches beyond it"},
		"meta is elsewhere": {func(b []byte) { b[meta] = 7 }, "meta page: state is damaged: it says that it is page 7"},
		"beyond the end":    {func(b []byte) { word.PutUint64(b[meta+16+40:], 3) }, "it is beyond the end of the file"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := bytes.Clone(sound)
			tt.change(b)
			reseal(b)
			_, damage := readPages(b)
			if got := errors.Join(damage...); (got == nil) != (tt.want == "") || got != nil && !strings.Contains(got.Error(), tt.want) {
				t.Errorf("got %v, want %q", got, tt.want)
			}
		})
	}
	t.Run("bytes shared", func(t *testing.T) { // each element with the same large value
		b := bytes.Clone(sound)
		for i := range 100 {
			copy(b[root+16+16*i:], sound[root+16:root+32])
			word.PutUint32(b[root+16+16*i+12:], 3000)
			word.PutUint32(b[root+16+16*i:], 0)
		}
		word.PutUint16(b[root+10:], 100)
		items, damage := readPages(b)
		if len(items) > 2 || len(damage) == 0 {
			t.Errorf("%d values from one page, damage %v", len(items), damage)
		}
	})
}

// reseal makes the meta pages of b valid again, so that what they say is looked
// at.
func reseal(b []byte) {
	for _, at := range []int{0, pageSize} {
		if len(b) < at+80 {
			return
		}
		h := fnv.New64a()
		_, _ = h.Write(b[at+16 : at+72])
		binary.NativeEndian.PutUint64(b[at+72:], h.Sum64())
	}
}

// heads returns the heads of both meta pages.
func heads(b []byte) []byte { return append(bytes.Clone(b[:16]), b[pageSize:pageSize+16]...) }

// FuzzSalvage reads arbitrary bytes, and a real file with bytes changed in it:
// patch is then a row of three bytes of offset and one to change by. Whatever it is
// must end soon, with nothing but [ErrCorrupt] or a newer schema. What passes as
// sound must be so for bbolt too.
func FuzzSalvage(f *testing.F) {
	s := New(f.TempDir())
	if err := s.Update(f.Context(), func(tx *Tx) error { return errors.Join(fill(tx), many(tx), count(tx)) }); err != nil {
		f.Fatal(err)
	}
	sound, err := os.ReadFile(s.Path())
	if err != nil {
		f.Fatal(err)
	}
	sound = sound[:len(bytes.TrimRight(sound, "\x00"))/pageSize*pageSize+pageSize]
	f.Add(false, []byte("hello"))
	f.Add(false, sound[:200])
	f.Add(true, []byte{})
	f.Fuzz(func(t *testing.T, real bool, patch []byte) {
		b := patch
		if real {
			b = bytes.Clone(sound)
			for ; len(patch) >= 4; patch = patch[4:] {
				at := int(patch[0])<<16 | int(patch[1])<<8 | int(patch[2])
				b[at%len(b)] ^= patch[3]
			}
			reseal(b)
		}
		sv, err := salvage("x", b)
		if _, newer := errors.AsType[*SchemaError](err); err != nil && !newer {
			t.Fatalf("got %v, want *SchemaError", err)
		}
		for _, err := range sv.Damage {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("got %v, want ErrCorrupt", err)
			}
		}
		// A meta page that is not valid is no damage: a power cut leaves it so, and
		// the next change writes it anew. bbolt's check looks at its head, though.
		if err == nil && len(sv.Damage) == 0 && bytes.Equal(heads(b), heads(sound)) {
			soundForBolt(t, b, sv)
		}
	})
}

// soundForBolt asks bbolt to check b, and to read the same from it.
func soundForBolt(t *testing.T, b []byte, want Salvage) {
	t.Helper()
	s := New(t.TempDir())
	if err := os.WriteFile(s.Path(), b, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(s.Path(), 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bolt.Tx) error {
		var errs []error
		for err := range tx.Check() {
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	if err != nil {
		t.Errorf("bbolt's own check: %v", err)
	}
	if want.Schema != newest() {
		return
	}
	want.Schema, want.Bytes = 0, 0
	got, err := stateOf(t, s)
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || d != "" {
		t.Errorf("a transaction reads something else (%v), want - got +:\n%s", err, d)
	}
}

// TestSoundFilesAreSoundForBolt asks the same of every fixture, and of files that
// grew and shrank.
func TestSoundFilesAreSoundForBolt(t *testing.T) {
	fixtures, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(fixtures) == 0 {
		t.Fatal(err)
	}
	for _, path := range fixtures {
		s := New(t.TempDir())
		load(t, s, path)
		sv, err := s.Salvage(t.Context())
		if err != nil || sv.Damage != nil {
			t.Errorf("%s: %v, damage %v", path, err, sv.Damage)
		}
		soundForBolt(t, bytesOf(t, s), sv)
	}
	s := New(t.TempDir())
	none := func(tx *Tx) error {
		ms, err := tx.Machines()
		errs := []error{err, tx.DeleteSpace(Global)}
		for _, m := range ms {
			errs = append(errs, tx.DeleteMachine(m.Name))
		}
		return errors.Join(errs...)
	}
	for i, fn := range []func(*Tx) error{nothing, fill, many, count, none, fill, many} {
		update(t, s, fn)
		sv, err := s.Salvage(t.Context())
		if err != nil || sv.Damage != nil {
			t.Errorf("step %d: %v, damage %v", i, err, sv.Damage)
		}
		soundForBolt(t, bytesOf(t, s), sv)
	}
}
