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

// A ledger answers what is recorded in one space. It is a transaction's, or a
// map in tests.
type ledger interface {
	lease(vsock.CID) (store.Lease, error)          // the zero Lease if nothing is
	owned(machine string) (vsock.CID, error)       // 0 if it has none
	reservedFor(machine string) (vsock.CID, error) // 0 if none is
}

// A book is what a choice depends on: the same ledger, book and request give the
// same CID. However many leases a space has, a choice looks at a few of them.
type book struct {
	ledger
	space  store.Space
	own    vsock.CID // this host's own, if it is a guest; vsock.Any if not
	in     Range     // to choose from
	source string    // of the range, in words
	now    time.Time
}

// choose returns the CID that r should try to claim next: the wanted one, or the
// one reserved for the machine, or what it had before, or the next free one upwards
// from a hash of space and machine. Never the lowest free: that hands a number on
// within milliseconds.
//
// It fails with [vsock.ErrBadCID], [*TakenError] (its Holder is the machine's
// name) and [ErrExhausted], and if the ledger can't be read.
func (b book) choose(r Request) (vsock.CID, error) {
	if r.Want != 0 {
		return r.Want, b.allows(r)
	}
	c, err := b.kept(r)
	if err != nil || c != 0 {
		return c, err
	}
	size := uint64(b.in.Last) - uint64(b.in.First) + 1
	at := hash(b.space, r.Machine) % size
	for range size {
		c := b.in.First + vsock.CID(at)
		if free, err := b.free(c, r.Machine); err != nil || free {
			return c, err
		}
		at = (at + 1) % size
	}
	return 0, fmt.Errorf("%w: all of %d to %d are in use in space %s%s", ErrExhausted, b.in.First, b.in.Last, b.space, b.source)
}

// kept returns the CID that r's machine has a claim to, if it can have that, or
// 0.
func (b book) kept(r Request) (vsock.CID, error) {
	reserved, err := b.reservedFor(r.Machine)
	if err != nil {
		return 0, err
	}
	owned, err := b.owned(r.Machine)
	if err != nil {
		return 0, err
	}
	for _, c := range []vsock.CID{reserved, r.Last, owned} {
		if !c.Guest() {
			continue
		}
		if free, err := b.free(c, r.Machine); err != nil || free {
			return c, err
		}
	}
	return 0, nil
}

// allows returns why r can't have the CID it wants as far as the ledger knows.
// Neither a cool-down nor a stranger's mark counts against who asks by number.
func (b book) allows(r Request) error {
	if !r.Want.Guest() {
		return fmt.Errorf("cid %d: %w (want %d to %d)", r.Want, vsock.ErrBadCID, vsock.FirstGuest, vsock.LastGuest)
	}
	l, err := b.at(r.Want)
	switch {
	case err != nil:
		return err
	case r.Want == b.own:
		return &TakenError{CID: r.Want, Space: b.space, Holder: thisHost, Foreign: true}
	case l.Machine != "" && l.Machine != r.Machine:
		return &TakenError{CID: r.Want, Space: b.space, Holder: l.Machine}
	case l.Reserved != nil && l.Reserved.For != r.Machine:
		return &TakenError{CID: r.Want, Space: b.space, Reserved: l.Reserved}
	}
	return nil
}

// at returns what the ledger says of c now: nothing of what is stale.
func (b book) at(c vsock.CID) (store.Lease, error) {
	l, err := b.lease(c)
	if err != nil || stale(l, b.now) {
		return store.Lease{}, err
	}
	return l, nil
}

// free reports whether machine may be given c unasked.
func (b book) free(c vsock.CID, machine string) (bool, error) {
	if c == b.own {
		return false, nil
	}
	l, err := b.at(c)
	switch {
	case err != nil:
		return false, err
	case l.Reserved != nil:
		return l.Reserved.For == machine && (l.Machine == "" || l.Machine == machine), nil
	case l.Machine != "":
		return l.Machine == machine, nil
	case l.Foreign != "":
		return false, nil
	case !l.Freed.IsZero():
		return l.Last == machine, nil // cooling
	}
	return true, nil
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
	case l.Machine != "", l.Reserved != nil:
		return false
	case l.Foreign != "":
		return over(l.Seen, foreignMemory)
	}
	return over(l.Freed, coolDown)
}
