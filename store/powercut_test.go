package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

const (
	pageSize = 4096 // of this host, and so of the files it makes
	sector   = 512  // what a disk writes at once
)

// stateOf returns all that a transaction can read.
func stateOf(t *testing.T, s *Store) (sv Salvage, err error) {
	t.Helper()
	err = s.View(t.Context(), func(tx *Tx) error {
		var err1, err2 error
		sv.Machines, err1 = tx.Machines()
		sv.Netnses, err2 = tx.Netnses()
		spaces, err := tx.Spaces()
		errs := []error{err1, err2, err}
		for _, sp := range spaces {
			ls, err := tx.Leases(sp)
			sv.Leases = append(sv.Leases, ls...)
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	return sv, err
}

// A cut is a state file before and after one update, on a disk that a power cut
// may stop anywhere.
type cut struct {
	t        *testing.T
	s        *Store
	old, new []byte
	states   [2]Salvage // what they say
	tried    int
	damaged  int
}

// newCut makes a file with so many large machines, and an update that changes
// most of it.
func newCut(t *testing.T, machines int) *cut {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "vmlaunch-store-") // what is tested is not the disk
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := &cut{t: t, s: New(dir)}
	update(t, c.s, fill)
	large := func(m Machine) func(*Tx) error {
		return func(tx *Tx) error {
			errs := []error{count(tx)}
			for i := range machines {
				m.Name = fmt.Sprintf("m%03d", i)
				errs = append(errs, tx.PutMachine(m))
			}
			return errors.Join(errs...)
		}
	}
	update(t, c.s, large(Machine{Phase: Failed, Cause: strings.Repeat("why ", 200)}))
	update(t, c.s, count) // there are free pages now
	keep := func(n int) []byte {
		var err error
		if c.states[n], err = stateOf(t, c.s); err != nil {
			t.Fatal(err)
		}
		return bytesOf(t, c.s)
	}
	c.old = keep(0)
	update(t, c.s, func(tx *Tx) error {
		return errors.Join(large(Machine{Phase: Running, RunDir: strings.Repeat("/run", 200)})(tx),
			tx.DeleteMachine("web"), tx.DeleteLease(Global, 7))
	})
	c.new = keep(1)
	return c
}

// try uses b as the state file. It must say what the old one did or the new one,
// or be damaged, and so must it after an update. It reports whether it did not
// come out as damaged.
func (c *cut) try(what string, b []byte) bool {
	c.t.Helper()
	c.tried++
	if err := errors.Join(os.RemoveAll(c.s.Path()), os.WriteFile(c.s.Path(), b, 0o600)); err != nil {
		c.t.Fatal(err)
	}
	sound := c.is(what, 0)
	err := c.s.Update(c.t.Context(), func(tx *Tx) error { return tx.PutNetns(Netns{Name: "green"}) })
	if err != nil && !errors.Is(err, ErrCorrupt) {
		c.t.Errorf("%s: update: got %v, want ErrCorrupt", what, err)
	}
	if err == nil {
		sound = c.is(what+", updated", 1) && sound
	}
	if err != nil || !sound {
		c.damaged++
		return false
	}
	return true
}

// is asks that the file says what the old or the new one did, with so many
// namespaces more, or is damaged.
func (c *cut) is(what string, more int) (sound bool) {
	c.t.Helper()
	got, err := stateOf(c.t, c.s)
	if errors.Is(err, ErrCorrupt) {
		return false
	}
	if err != nil {
		c.t.Errorf("%s: got %v, want ErrCorrupt", what, err)
		return false
	}
	if n := len(got.Netnses); n < more {
		c.t.Errorf("%s: %d namespaces, want that of the update", what, n)
		return false
	}
	got.Netnses = got.Netnses[:len(got.Netnses)-more]
	if !reflect.DeepEqual(got, c.states[0]) && !reflect.DeepEqual(got, c.states[1]) {
		c.t.Errorf("%s: neither the old state nor the new one: %d machines, %d leases, %d namespaces",
			what, len(got.Machines), len(got.Leases), len(got.Netnses))
	}
	return true
}

// pages returns the numbers of the pages that the update wrote, in the order in
// which bbolt does: the meta page last.
func (c *cut) pages() []int {
	var data, meta []int
	for at := 0; at+pageSize <= len(c.new); at += pageSize {
		page, before := c.new[at:at+pageSize], make([]byte, pageSize) // what the file grows by is zero
		if at < len(c.old) {
			before = c.old[at : at+pageSize]
		}
		switch {
		case bytes.Equal(before, page):
		case at < 2*pageSize:
			meta = append(meta, at/pageSize)
		default:
			data = append(data, at/pageSize)
		}
	}
	return append(data, meta...)
}

// end returns where the last page ends that has something in it.
func (c *cut) end() int {
	n := len(bytes.TrimRight(c.new, "\x00"))
	return (n + pageSize - 1) / pageSize * pageSize
}

// write returns b with the first n bytes of page id as the update left it, and b
// grown to hold it.
func (c *cut) write(b []byte, id, n int) []byte {
	at := id * pageSize
	b = append(bytes.Clone(b), make([]byte, max(0, at+n-len(b)))...)
	copy(b[at:at+n], c.new[at:])
	return b
}

// TestPowerCutAmidACommit stops a real commit after each write it makes, and
// within each write at every sector, within that of the meta page at every byte
// that counts. The file is the old state then, whole and good for more, until the
// meta page is written.
func TestPowerCutAmidACommit(t *testing.T) {
	c := newCut(t, 20)
	pages := c.pages()
	if len(pages) < 5 || pages[len(pages)-1] > 1 {
		t.Fatalf("the update wrote pages %v, want several and a meta page last", pages)
	}
	b := c.old
	for i, id := range pages {
		last := i == len(pages)-1
		step := sector
		if last {
			step = 1
		}
		for n := 0; n < pageSize && (!last || n < 100); n += step {
			what := fmt.Sprintf("%d bytes of write %d (page %d)", n, i, id)
			if !c.try(what, c.write(b, id, n)) {
				t.Errorf("%s: damaged", what)
			}
		}
		if !last && !c.try(fmt.Sprintf("write %d alone", i), c.write(c.old, id, pageSize)) { // the disk has an order of its own
			t.Errorf("write %d alone: damaged", i)
		}
		b = c.write(b, id, pageSize)
	}
	if !c.try("all writes", b) {
		t.Error("all writes: damaged")
	}
	t.Logf("%d writes, cut in %d places", len(pages), c.tried)
}

// TestTornPageIsTheOldStateTheNewOrDamage is about disks that lie: of each page
// only what comes before a sector is there, or what comes after it, or all but
// that sector; the rest is zero.
func TestTornPageIsTheOldStateTheNewOrDamage(t *testing.T) {
	torn := func(c *cut, step int) {
		for at := 0; at < c.end(); at += pageSize {
			for n := 0; n < pageSize; n += step {
				for what, zero := range map[string][2]int{
					"ends at": {n, pageSize}, "begins behind": {0, n + step}, "lacks": {n, n + step},
				} {
					b := bytes.Clone(c.new)
					clear(b[at+zero[0] : at+zero[1]])
					c.try(fmt.Sprintf("page %d %s sector %d", at/pageSize, what, n/step), b)
				}
			}
		}
		if c.damaged == 0 {
			t.Error("no damage was noticed")
		}
		t.Logf("%d torn files, %d damaged", c.tried, c.damaged)
	}
	torn(newCut(t, 20), sector)
	torn(newCut(t, 0), 128) // all is in a few sectors, so what matters is where in them
}

// TestTruncatedFileIsTheStateOrDamage cuts the file at many positions, each byte
// of the meta pages that counts among them.
func TestTruncatedFileIsTheStateOrDamage(t *testing.T) {
	c := newCut(t, 20)
	for n := 0; n < c.end(); n += 256 {
		c.try(fmt.Sprintf("%d bytes", n), c.new[:n])
	}
	for _, at := range []int{0, pageSize, 2 * pageSize} {
		for n := range 100 {
			c.try(fmt.Sprintf("%d bytes", at+n), c.new[:at+n])
		}
	}
	if c.damaged == 0 {
		t.Error("no damage was noticed")
	}
	t.Logf("cut at %d positions, %d damaged", c.tried, c.damaged)
}
