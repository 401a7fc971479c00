package cidalloc

import (
	"fmt"
	"hash/fnv"
	"time"

	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

const (
	// coolDown keeps a CID from the next machine: peers that still talk to the
	// last one notice its end first. Who asks for a number by name, and the
	// machine that had it, need not wait.
	coolDown = time.Minute

	// foreignMemory is for how long a stranger's CID is left out of the choice and
	// shown in listings. A CID that is asked for is always tried.
	foreignMemory = 10 * time.Minute
)

// A book is what a choice depends on. It is a plain value: the same book and
// request give the same CID.
type book struct {
	space  store.Space
	leases map[vsock.CID]store.Lease // nothing stale
	own    vsock.CID                 // this host's own, if it is a guest; vsock.Any if not
	first  vsock.CID                 // the range to choose from
	last   vsock.CID
}

// choose returns the CID that r should try to claim next: the wanted one, or
// what the machine had before, or the next free one upwards from a hash of space
// and machine. Never the lowest free: that hands a number on within milliseconds.
//
// It fails with [vsock.ErrBadCID], [*TakenError] (its Holder is the machine's
// name) and [ErrExhausted].
func (b book) choose(r Request) (vsock.CID, error) {
	if r.Want != 0 {
		return r.Want, b.allows(r)
	}
	for _, c := range []vsock.CID{r.Last, b.leased(r.Machine)} {
		if c.Guest() && b.free(c, r.Machine) {
			return c, nil
		}
	}
	size := uint64(b.last) - uint64(b.first) + 1
	at := hash(b.space, r.Machine) % size
	// One number more than the book could have taken is enough.
	for range min(size, uint64(len(b.leases))+2) {
		if c := b.first + vsock.CID(at); b.free(c, r.Machine) {
			return c, nil
		}
		at = (at + 1) % size
	}
	return 0, fmt.Errorf("%w: all of %d to %d are in use in space %s", ErrExhausted, b.first, b.last, b.space)
}

// allows returns why r can't have the CID it wants as far as the ledger knows.
// Neither a cool-down nor a stranger's mark counts against who asks by number.
func (b book) allows(r Request) error {
	switch l := b.leases[r.Want]; {
	case !r.Want.Guest():
		return fmt.Errorf("cid %d: %w (want %d to %d)", r.Want, vsock.ErrBadCID, vsock.FirstGuest, vsock.LastGuest)
	case r.Want == b.own:
		return &TakenError{CID: r.Want, Space: b.space, Holder: thisHost, Foreign: true}
	case l.Machine != "" && l.Machine != r.Machine:
		return &TakenError{CID: r.Want, Space: b.space, Holder: l.Machine}
	}
	return nil
}

// free reports whether machine may be given c unasked.
func (b book) free(c vsock.CID, machine string) bool {
	if c == b.own {
		return false
	}
	l, found := b.leases[c]
	switch {
	case !found:
		return true
	case l.Machine != "":
		return l.Machine == machine
	case l.Foreign != "":
		return false
	}
	return l.Last == machine // cooling
}

// leased returns the CID the ledger has for machine, or 0.
func (b book) leased(machine string) vsock.CID {
	for c, l := range b.leases {
		if l.Machine == machine {
			return c
		}
	}
	return 0
}

// hash spreads machines over the CIDs, in each space in its own way: the kernel
// sorts devices into 256 chains by CID alone.
func hash(s store.Space, machine string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(string(s) + "\x00" + machine))
	return h.Sum64()
}

// stale reports whether l says nothing any more at now. A time in the future is
// from a clock that was put back, and says nothing either.
func stale(l store.Lease, now time.Time) bool {
	over := func(since time.Time, d time.Duration) bool {
		age := now.Sub(since)
		return age < 0 || age >= d
	}
	switch {
	case l.Machine != "":
		return false
	case l.Foreign != "":
		return over(l.Seen, foreignMemory)
	}
	return over(l.Freed, coolDown)
}
