package cidalloc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// A ReserveRequest says which CID is to be kept for whom.
type ReserveRequest struct {
	NS   *netns.NS // in whose space; stays the caller's
	CID  vsock.CID // this and no other; 0 lets the allocator choose
	For  string    // the machine that may have it; "" for none of ours
	Note string    // why
}

// A LeasedError says that a CID can't be released because a machine has it.
// errors.Is(err, fs.ErrExist) holds.
type LeasedError struct {
	CID     vsock.CID
	Machine string
}

func (e *LeasedError) Error() string {
	return fmt.Sprintf("cid %d: machine %q has it (vmlaunch rm %s)", e.CID, e.Machine, e.Machine)
}

// Is makes every LeasedError an [fs.ErrExist].
func (e *LeasedError) Is(target error) bool { return target == fs.ErrExist }

// Reserve keeps a CID from being chosen, and from all machines but r.For. A
// machine with a lease goes on having it. A second time only the note changes.
//
// A number that is asked for is reserved whoever holds it in the kernel: that may
// be who it is reserved for. One that is chosen is free there too.
//
// It fails with [*TakenError] if another machine has the CID or it is reserved for
// another one, with [fs.ErrExist] if r.For has another CID reserved in the space,
// with [ErrExhausted], with [vsock.ErrBadCID], and as [store.Store.Update] does.
func (a *Allocator) Reserve(ctx context.Context, r ReserveRequest) (vsock.CID, error) {
	c, err := a.reserve(ctx, r)
	if err != nil {
		return 0, fmt.Errorf("reserve cid: %w", err)
	}
	return c, nil
}

func (a *Allocator) reserve(ctx context.Context, r ReserveRequest) (c vsock.CID, err error) {
	p, err := a.host.look(r.NS)
	if err != nil {
		return 0, err
	}
	own, err := a.host.own()
	if err != nil {
		return 0, err
	}
	err = a.store.Update(ctx, func(tx *store.Tx) error {
		book, err := a.open(tx, p, own)
		if err != nil {
			return err
		}
		if c, err = a.chooseReserved(tx, p, book, r); err != nil {
			return a.explain(tx, p, err)
		}
		l, err := book.at(c)
		if err != nil {
			return err
		}
		if l.Machine == "" {
			l = store.Lease{CID: c, Space: p.space, Reserved: l.Reserved}
		}
		reserved := store.Reservation{For: r.For, Note: r.Note, Since: a.now()}
		if l.Reserved != nil {
			reserved.Since = l.Reserved.Since
		}
		l.Reserved = &reserved
		return tx.PutLease(l)
	})
	return c, err
}

// chooseReserved returns the CID that r gets.
func (a *Allocator) chooseReserved(tx *store.Tx, p place, b book, r ReserveRequest) (vsock.CID, error) {
	q := Request{Machine: r.For, Want: r.CID}
	if q.Want != 0 {
		return q.Want, b.allows(q)
	}
	if q.Machine == "" {
		// A name of its own, which no machine can have: nobody's reservations would
		// all start to look at the same place.
		n, err := tx.Generation()
		if err != nil {
			return 0, err
		}
		q.Machine = fmt.Sprintf("reservation %d", n)
	}
	for range maxRefusals {
		c, err := b.choose(q)
		if err != nil {
			return 0, err
		}
		l, err := b.at(c)
		if err != nil || l.Machine != "" || l.Reserved != nil {
			return c, err // r.For's already
		}
		held, err := a.host.claimed(p, c)
		if err != nil || !held[0] {
			return c, err
		}
		if err := remember(tx, []store.Lease{{CID: c, Space: p.space, Foreign: anonymous, Seen: b.now}}); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("%w: strangers hold all %d that were tried in space %s", ErrExhausted, maxRefusals, p.space)
}

// Unreserve makes c free to be chosen in ns's space: it ends a reservation, a
// cool-down, or what is remembered of a stranger. There being none is fine. It
// returns what was recorded before, the zero Row if nothing was.
//
// It fails with [*LeasedError] if a machine has c without a reservation; one with
// a reservation keeps its lease. It fails as [store.Store.Update] does.
func (a *Allocator) Unreserve(ctx context.Context, ns *netns.NS, c vsock.CID) (Row, error) {
	row, err := a.unreserve(ctx, ns, c)
	if err != nil {
		return Row{}, fmt.Errorf("release cid: %w", err)
	}
	return row, nil
}

func (a *Allocator) unreserve(ctx context.Context, ns *netns.NS, c vsock.CID) (was Row, err error) {
	p, err := a.host.look(ns)
	if err != nil {
		return Row{}, err
	}
	err = a.store.Update(ctx, func(tx *store.Tx) error {
		l, err := tx.Lease(p.space, c)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if was, err = rowOf(tx, l); err != nil {
			return err
		}
		switch {
		case l.Machine == "":
			return tx.DeleteLease(p.space, c)
		case l.Reserved == nil:
			return &LeasedError{c, l.Machine}
		}
		l.Reserved = nil
		return tx.PutLease(l)
	})
	return was, err
}
