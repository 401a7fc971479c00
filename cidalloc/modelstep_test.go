package cidalloc

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

var errModel = errors.New("the model's own failure")

// acquire starts a machine that does not run, new or not, with a number or not.
// Now and then what belongs to the lease can't be written.
func (m *model) acquire(t *rapid.T) {
	name, ok := m.machine(t, func(name string) bool { return m.live[name] == nil })
	if !ok {
		return
	}
	s := m.enter(t)
	before := m.records[name]
	fails := rapid.IntRange(0, 9).Draw(t, "fails") == 0
	r := Request{Machine: name, Last: before.cid}
	r.Want = vsock.CID(rapid.SampledFrom([]uint32{0, 0, 0, 2, 3, 4, 5, 6, 7, 40}).Draw(t, "want"))
	r.Record = func(tx *store.Tx, s store.Space, c vsock.CID) error {
		if fails {
			return errModel
		}
		if before.cid != 0 && before.space != s { // as a launch does
			if err := m.Free(tx, before.space, before.cid, name); err != nil {
				return err
			}
		}
		return tx.PutMachine(store.Machine{Name: name, Phase: store.Starting, Space: s, CID: c})
	}
	l, err := m.Acquire(m.t.Context(), r)
	switch {
	case err == nil:
		m.wantAllowed(t, s, r, l.CID())
		if old := find(m.leased, s, name); old != 0 && old != l.CID() {
			m.freed(claim{s, old}, name)
		}
		if before.space != s {
			m.freed(before, name)
		}
		at := claim{s, l.CID()}
		delete(m.cooling, at)
		m.leased[at], m.records[name], m.live[name] = name, at, l
	case errors.Is(err, errModel):
		if !fails {
			t.Fatal(err)
		}
	default:
		m.wantRefused(t, s, r, err)
	}
}

// wantAllowed asks that r may get c: whatever it asks for, or what it has a claim
// to, or a number that nobody has a claim to.
func (m *model) wantAllowed(t *rapid.T, s store.Space, r Request, c vsock.CID) {
	at := claim{s, c}
	if m.forOther(at, r.Machine) || c == m.kernel.ownCID || !c.Guest() {
		t.Fatalf("%+v got %d in %s", r, c, s)
	}
	if r.Want != 0 {
		if c != r.Want {
			t.Fatalf("got %d, want %d", c, r.Want)
		}
		return
	}
	if m.isCooling(at, r.Machine) {
		t.Fatalf("%s got %d, unasked, %v after %s had it", r.Machine, c, m.clock.Sub(m.cooling[at].since), m.cooling[at].last)
	}
	kept := []vsock.CID{find(m.reserved, s, r.Machine), r.Last, find(m.leased, s, r.Machine)}
	if in, _ := m.Ranges.of(place{space: s}); (c < in.First || c > in.Last) && c != kept[0] && c != kept[1] && c != kept[2] {
		t.Fatalf("%s got %d, out of %+v", r.Machine, c, in)
	}
	if first := kept[0]; first != 0 && c != first && m.kernel.find(m.kernel.named[m.kernel.at], first) == nil && m.leased[claim{s, first}] == "" {
		t.Fatalf("%s got %d, want the reserved %d", r.Machine, c, first)
	}
}

// wantRefused asks that err is right for r.
func (m *model) wantRefused(t *rapid.T, s store.Space, r Request, err error) {
	at := claim{s, r.Want}
	switch {
	case r.Want != 0 && !r.Want.Guest():
		if !errors.Is(err, vsock.ErrBadCID) {
			t.Fatalf("%+v: %v", r, err)
		}
	case r.Want != 0:
		if !errors.Is(err, ErrTaken) || !m.forOther(at, r.Machine) && r.Want != m.kernel.ownCID && !m.strangerAt(r.Want) {
			t.Fatalf("%+v in %s: %v", r, s, err)
		}
	case errors.Is(err, ErrTaken): // its own, or the one kept for it, which a stranger has
		own, kept := find(m.leased, s, r.Machine), find(m.reserved, s, r.Machine)
		if (own == 0 || !m.strangerAt(own)) && (kept == 0 || !m.strangerAt(kept)) {
			t.Fatalf("%+v in %s: %v", r, s, err)
		}
	case errors.Is(err, ErrExhausted):
		m.wantNoneLeft(t, s, r.Machine)
	default:
		t.Fatal(err)
	}
}

// wantNoneLeft asks that no number of the space could be given to machine.
func (m *model) wantNoneLeft(t *rapid.T, s store.Space, machine string) {
	var known []vsock.CID // strangers', and cooling
	err := m.store.View(m.t.Context(), func(tx *store.Tx) error {
		leases, err := tx.Leases(s)
		for _, l := range leases {
			if l.Machine == "" && l.Reserved == nil && l.Last != machine && !stale(l, m.clock) {
				known = append(known, l.CID)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	in, _ := m.Ranges.of(place{space: s})
	for c := in.First; c <= in.Last; c++ {
		if c != m.kernel.ownCID && !slices.Contains(known, c) && !m.forOther(claim{s, c}, machine) && !m.strangerAt(c) {
			t.Fatalf("none left for %q in %s, but %d is free", machine, s, c)
		}
	}
}

// stop ends a machine's QEMU: the number stays the machine's.
func (m *model) stop(t *rapid.T) {
	name, ok := m.machine(t, func(name string) bool { return m.live[name] != nil })
	if !ok {
		return
	}
	l := m.live[name]
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	delete(m.live, name)
	m.past[name] = l
}

// crash ends a launch that did not come to its end: what it recorded stays, and
// the next command gives it back.
func (m *model) crash(t *rapid.T) {
	name, ok := m.machine(t, func(name string) bool { return m.live[name] != nil })
	if !ok {
		return
	}
	l := m.live[name]
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	delete(m.live, name)
	m.forget(t, name)
}

// remove ends a machine, running or not, and forgets it.
func (m *model) remove(t *rapid.T) {
	name, ok := m.machine(t, func(name string) bool { return m.records[name].cid != 0 })
	if !ok {
		return
	}
	if l := m.live[name]; l != nil {
		if err := l.Release(m.t.Context()); err != nil {
			t.Fatal(err)
		}
		m.freed(claim{l.Space(), l.CID()}, name)
		delete(m.live, name)
	}
	m.forget(t, name)
}

func (m *model) forget(t *rapid.T, name string) {
	at := m.records[name]
	err := m.store.Update(m.t.Context(), func(tx *store.Tx) error {
		if at.cid != 0 {
			if err := m.Free(tx, at.space, at.cid, name); err != nil {
				return err
			}
		}
		return tx.DeleteMachine(name)
	})
	if err != nil {
		t.Fatal(err)
	}
	m.freed(at, name)
	delete(m.records, name)
}

// late releases a lease that ended long ago: if the machine has come to the number
// anew, nothing is given back.
func (m *model) late(t *rapid.T) {
	name, ok := m.machine(t, func(name string) bool { return m.past[name] != nil })
	if !ok {
		return
	}
	l := m.past[name]
	now := uint64(0)
	err := m.store.View(m.t.Context(), func(tx *store.Tx) error {
		have, err := txLedger{tx, l.Space()}.lease(l.CID())
		now = have.Generation
		return err
	})
	if err == nil {
		err = l.Release(m.t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	if now == l.generation {
		m.freed(claim{l.Space(), l.CID()}, name)
	}
	if live := m.live[name]; live != nil && m.leased[claim{live.Space(), live.CID()}] != name {
		t.Fatalf("a late release took cid %d from %s", l.CID(), name)
	}
}

func (m *model) reserve(t *rapid.T) {
	s := m.enter(t)
	r := ReserveRequest{
		CID: vsock.CID(rapid.SampledFrom([]uint32{0, 0, 3, 4, 5, 6, 41}).Draw(t, "cid")),
		For: rapid.SampledFrom(append(machineNames(), "")).Draw(t, "for"),
	}
	at, have := claim{s, r.CID}, find(m.reserved, s, r.For)
	owner := m.leased[at]
	c, err := m.Reserve(m.t.Context(), r)
	switch {
	case err == nil:
		at.cid = c
		if r.CID != 0 && c != r.CID || c == m.kernel.ownCID || m.forOther(at, r.For) || r.For != "" && have != 0 && have != c {
			t.Fatalf("reserved %d in %s for %+v", c, s, r)
		}
		if r.CID == 0 && m.isCooling(at, r.For) {
			t.Fatalf("reserved %d, which is cooling, unasked", c)
		}
		m.reserved[at] = r.For
		delete(m.cooling, at)
	case errors.Is(err, ErrTaken):
		if r.CID != m.kernel.ownCID && !m.forOther(at, r.For) {
			t.Fatalf("%+v: %v", r, err)
		}
	case errors.Is(err, ErrExhausted):
		if r.For == "" {
			r.For = "nobody" // what is reserved for none of ours already is not to be had
		}
		m.wantNoneLeft(t, s, r.For)
	case r.For != "" && have != 0 && have != r.CID && strings.Contains(err.Error(), "is reserved for machine"):
	default:
		t.Fatalf("%+v, owned by %q: %v", r, owner, err)
	}
}

func (m *model) unreserve(t *rapid.T) {
	s := m.enter(t)
	at := claim{s, vsock.CID(rapid.SampledFrom([]uint32{3, 4, 5, 6, 7, 8, 41}).Draw(t, "cid"))}
	_, err := m.Unreserve(m.t.Context(), nil, at.cid)
	_, kept := m.reserved[at]
	if refused := m.leased[at] != "" && !kept; refused != (err != nil) {
		t.Fatalf("cid %d in %s: %v", at.cid, s, err)
	}
	if err == nil {
		delete(m.reserved, at)
		delete(m.cooling, at)
	}
}

// churn makes a namespace, or removes it; one name comes back in another mode.
func (m *model) churn(t *rapid.T) {
	name := rapid.SampledFrom([]string{"red", "blue", "green"}).Draw(t, "namespace")
	here, there := m.kernel.named[name]
	if !there {
		m.kernel.create(name, rapid.SampledFrom([]vsock.Mode{vsock.Global, vsock.Local}).Draw(t, "mode"))
		return
	}
	for _, c := range m.kernel.claims {
		if c.in == here {
			m.idle = true
			return
		}
	}
	delete(m.kernel.named, name)
}

func (m *model) stranger(t *rapid.T) {
	m.enter(t)
	c := vsock.CID(rapid.Uint32Range(3, 9).Draw(t, "cid"))
	if m.kernel.claim(m.kernel.named[m.kernel.at], c, "a stranger") == nil {
		m.idle = true
	}
}

func (m *model) strangerGoes(t *rapid.T) {
	for _, c := range m.kernel.claims {
		if c.by != "" {
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	m.idle = true
}

func (m *model) jump(t *rapid.T) {
	seconds := rapid.SampledFrom([]int{1, 20, 59, 60, 600, 3600, -1, -61, -3600}).Draw(t, "seconds")
	m.clock = m.clock.Add(time.Duration(seconds) * time.Second)
	// What is over now may have been forgotten when the clock is put back.
	maps.DeleteFunc(m.cooling, func(at claim, _ cooled) bool { return !m.isCooling(at, "nobody") })
}

func (m *model) sweep(t *rapid.T) {
	if err := m.store.Update(m.t.Context(), m.Sweep); err != nil {
		t.Fatal(err)
	}
}

// reboot ends all that runs, and every namespace; the next command forgets their
// spaces.
func (m *model) reboot(t *rapid.T) {
	if rapid.IntRange(0, 3).Draw(t, "seldom") != 0 {
		m.idle = true
		return
	}
	m.kernel.reboot()
	for name, l := range m.live {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		m.past[name] = l
	}
	clear(m.live)
	err := m.store.Update(m.t.Context(), func(tx *store.Tx) error {
		spaces, err := tx.Spaces()
		for _, s := range spaces {
			if err == nil && s != store.Global {
				err = tx.DeleteSpace(s)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, all := range []map[claim]string{m.leased, m.reserved} {
		for at := range all {
			if at.space != store.Global {
				delete(all, at)
			}
		}
	}
	for at := range m.cooling {
		if at.space != store.Global {
			delete(m.cooling, at)
		}
	}
}

// look asks about a number; what it foretells is what the model says.
func (m *model) look(t *rapid.T) {
	s := m.enter(t)
	c := vsock.CID(rapid.Uint32Range(3, 9).Draw(t, "cid"))
	got, err := m.Look(m.t.Context(), nil, c)
	if err != nil {
		t.Fatal(err)
	}
	free := c != m.kernel.ownCID && !m.forOther(claim{s, c}, "somebody new") && !m.strangerAt(c)
	if got.Free != free {
		t.Fatalf("%s: free is %v, want %v", got.Says, got.Free, free)
	}
}
