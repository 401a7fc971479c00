package cidalloc

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// TestLedgerAndKernelAgree takes random steps with a few machines in two spaces
// and asks after each: every live lease is one machine's, held in the kernel, and
// in the ledger under that machine; and nothing else is leased.
func TestLedgerAndKernelAgree(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		// In memory where there is such a place: this is about steps, not disks.
		dir, err := os.MkdirTemp(memory(), "vmlaunch-cidalloc-")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		m := &model{t: t, live: map[owner]*Lease{}, freed: map[claim]time.Time{}, clock: time.Unix(1e9, 0)}
		m.world = newWorld(t)
		m.world.store = store.New(dir)
		m.Allocator.store, m.Allocator.now = m.world.store, func() time.Time { return m.clock }
		rt.Repeat(map[string]func(*rapid.T){
			"":        m.check,
			"acquire": m.acquireOne,
			"release": m.releaseOne,
			"kill":    m.killOne,
			"wait": func(t *rapid.T) {
				m.clock = m.clock.Add(time.Duration(rapid.IntRange(1, 70).Draw(t, "s")) * time.Second)
			},
		})
	})
}

func memory() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

type owner struct {
	machine string
	space   store.Space
}

type model struct {
	*world
	t     *testing.T
	live  map[owner]*Lease
	freed map[claim]time.Time
	clock time.Time
}

func (m *model) draw(t *rapid.T) owner {
	o := owner{fmt.Sprintf("m%d", rapid.IntRange(0, 4).Draw(t, "machine")), store.Global}
	if rapid.Bool().Draw(t, "local") {
		o.space = "local/a/1"
	}
	return o
}

func (m *model) acquireOne(t *rapid.T) {
	o := m.draw(t)
	if m.live[o] != nil {
		t.Skip("it has one")
	}
	want := vsock.CID(rapid.SampledFrom([]uint32{0, 0, 2, 3, 4, 5}).Draw(t, "want"))
	m.host.place.space = o.space
	l, err := m.Acquire(m.t.Context(), Request{Machine: o.machine, Want: want})
	var blocked bool
	for other, l := range m.live {
		blocked = blocked || other.space == o.space && l.CID() == want
	}
	switch {
	case want == 2:
		if !errors.Is(err, vsock.ErrBadCID) {
			t.Fatalf("cid 2: got %v", err)
		}
	case blocked:
		if !errors.Is(err, ErrTaken) {
			t.Fatalf("cid %d: got %v, want ErrTaken", want, err)
		}
	case err != nil:
		t.Fatalf("cid %d: %v", want, err)
	default:
		m.live[o] = l
		at := claim{o.space, l.CID()}
		if age := m.clock.Sub(m.freed[at]); want == 0 && age < coolDown {
			if last := m.last(at); last != o.machine {
				t.Fatalf("cid %d was given on %v after %q had it", l.CID(), age, last)
			}
		}
		delete(m.freed, at)
	}
}

// last is who had a CID, found in the home of each machine: tests free only what
// they own.
func (m *model) last(at claim) string {
	b := book{ledger: mapLedger{}, space: at.space, own: vsock.Any, in: everything()}
	for i := range 5 {
		name := fmt.Sprintf("m%d", i)
		if c, err := b.choose(Request{Machine: name}); err == nil && c == at.cid {
			return name
		}
	}
	return ""
}

func (m *model) releaseOne(t *rapid.T) {
	o := m.draw(t)
	l := m.live[o]
	if l == nil {
		t.Skip("it has none")
	}
	if err := l.Release(m.t.Context()); err != nil {
		t.Fatal(err)
	}
	delete(m.live, o)
	m.freed[claim{o.space, l.CID()}] = m.clock
}

// killOne ends the holder without a release: the ledger goes on having it until
// the machine comes back for it or it is released by name.
func (m *model) killOne(t *rapid.T) {
	o := m.draw(t)
	l := m.live[o]
	if l == nil {
		t.Skip("it has none")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	m.host.place.space = o.space
	again, err := m.Acquire(m.t.Context(), Request{Machine: o.machine, Last: l.CID()})
	if err != nil || again.CID() != l.CID() {
		t.Fatalf("came back for cid %d: got %v", l.CID(), err)
	}
	m.live[o] = again
}

func (m *model) check(t *rapid.T) {
	if len(m.host.held) != len(m.live) {
		t.Fatalf("kernel holds %v, want %d", m.host.held, len(m.live))
	}
	leased := 0
	for _, s := range []store.Space{store.Global, "local/a/1"} {
		for _, l := range m.leases(s) {
			if l.Machine == "" {
				continue
			}
			leased++
			if have := m.live[owner{l.Machine, s}]; have == nil || have.CID() != l.CID {
				t.Fatalf("ledger has cid %d for %q in %s, want %v", l.CID, l.Machine, s, have)
			}
		}
	}
	if leased != len(m.live) {
		t.Fatalf("ledger has %d leases, want %d", leased, len(m.live))
	}
}
