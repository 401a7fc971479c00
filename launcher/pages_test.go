package launcher

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/fakeqemu"
	"github.com/vmlaunch/vmlaunch/store"
)

// TestDamageOfAnEarlierBootIsFound breaks the list of free pages, which no read
// needs: the first command after a restart must not write into such a file.
func TestDamageOfAnEarlierBootIsFound(t *testing.T) {
	b := newBench(t, true)
	b.launch(b.fakeSpec(fakeqemu.Behaviour{}), Detached())
	set := func(boot string) {
		t.Helper()
		if err := b.Store.Update(t.Context(), func(tx *store.Tx) error { return tx.SetBoot(boot) }); err != nil {
			t.Fatal(err)
		}
	}
	set("earlier")
	sound, err := os.ReadFile(b.Store.Path())
	if err != nil {
		t.Fatal(err)
	}
	damaged := breakFreelists(t, sound)
	if err := os.WriteFile(b.Store.Path(), damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Reconcile(t.Context()); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("got %v, want store.ErrCorrupt", err)
	}
	if now, err := os.ReadFile(b.Store.Path()); err != nil || string(now) != string(damaged) {
		t.Errorf("the damaged file was written (%v)", err)
	}
	if err := os.WriteFile(b.Store.Path(), sound, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Reconcile(t.Context()); err != nil {
		t.Errorf("the sound one: %v", err)
	}
}

// breakFreelists returns file with every page of free ones saying that page 3 is
// free. See page.go in bbolt's source.
func breakFreelists(t *testing.T, file []byte) []byte {
	t.Helper()
	const page, head, flagFreelist = 4096, 16, 0x10
	broken, n := append([]byte(nil), file...), 0
	for at := 2 * page; at < len(broken); at += page {
		if p := broken[at : at+page]; binary.LittleEndian.Uint16(p[8:]) == flagFreelist {
			binary.LittleEndian.PutUint16(p[10:], 1)
			binary.LittleEndian.PutUint64(p[head:], 3)
			n++
		}
	}
	if n == 0 {
		t.Fatal("no list of free pages in the file")
	}
	return broken
}
