package cidalloc

import (
	"errors"
	"io/fs"

	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// maxSweep bounds how much of what is stale one allocation forgets: whoever comes
// after a thousand machines went at once must not pay for all of them.
const maxSweep = 64

// A txLedger is one space in a transaction.
type txLedger struct {
	tx    *store.Tx
	space store.Space
}

func (t txLedger) lease(c vsock.CID) (store.Lease, error) {
	l, err := t.tx.Lease(t.space, c)
	if errors.Is(err, fs.ErrNotExist) {
		return store.Lease{}, nil
	}
	return l, err
}

func (t txLedger) owned(machine string) (vsock.CID, error) { return t.tx.Owned(t.space, machine) }

func (t txLedger) reservedFor(machine string) (vsock.CID, error) {
	return t.tx.ReservedFor(t.space, machine)
}

// open returns the book of p's space in tx, and forgets some of what is stale in
// it.
func (a *Allocator) open(tx *store.Tx, p place, own vsock.CID) (book, error) {
	if err := a.sweep(tx, p.space, maxSweep); err != nil {
		return book{}, err
	}
	in, source := a.Ranges.of(p)
	return book{ledger: txLedger{tx, p.space}, space: p.space, own: own, in: in, source: source, now: a.now()}, nil
}

// Sweep forgets, in all spaces, cool-downs that are over and strangers that were
// not met for a while. It fails if the ledger can't be read or written.
func (a *Allocator) Sweep(tx *store.Tx) error {
	leases, err := tx.AllLeases()
	if err != nil {
		return err
	}
	for _, l := range leases {
		if !stale(l, a.now()) {
			continue
		}
		if err := tx.DeleteLease(l.Space, l.CID); err != nil {
			return err
		}
	}
	return nil
}

// sweep forgets up to most of each kind of what is stale in s, the oldest first.
// What is dated in the future is stale too, but found only by Sweep.
func (a *Allocator) sweep(tx *store.Tx, s store.Space, most int) error {
	freed, err := tx.FreedBefore(s, a.now().Add(-coolDown), most)
	if err != nil {
		return err
	}
	seen, err := tx.SeenBefore(s, a.now().Add(-foreignMemory), most)
	if err != nil {
		return err
	}
	for _, c := range append(freed, seen...) {
		if err := tx.DeleteLease(s, c); err != nil {
			return err
		}
	}
	return nil
}
