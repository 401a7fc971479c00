// Package cidalloc decides which CID a machine gets. Choosing it, recording it
// and claiming it in the kernel are one step: there is no moment in which a CID
// is promised but could still go to somebody else.
//
// The kernel is the judge of "taken", the store is the judge of "ours".
package cidalloc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/vmlaunch/vmlaunch/internal/undo"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

const (
	// maxRefusals bounds how many chosen CIDs the kernel may refuse before we give
	// up. Strangers on 16 numbers in a row, out of four thousand million, are not
	// bad luck but a kernel that refuses everything.
	maxRefusals = 16

	// settleWait bounds the wait for a CID that the ledger says is free and the
	// kernel says is not, with nobody in sight who holds it: the kernel lets go of
	// a CID 15 to 70 ms after its holder was killed and 70 to 230 ms after a QMP
	// quit (emulated; KERNEL.md, fact 14). This is near ten times that.
	settleWait = 2 * time.Second

	// settlePoll is the time between two tries meanwhile. A refused try costs
	// about 9 ms emulated, as it opens and closes the device.
	settlePoll = 20 * time.Millisecond
)

// An Allocator hands out CIDs. It is safe for concurrent use, also by several
// processes on one store.
type Allocator struct {
	Ranges Ranges // to choose from; set before first use

	store *store.Store
	host  host
	now   func() time.Time
}

// New returns an allocator that keeps its ledger in s.
func New(s *store.Store) *Allocator {
	return &Allocator{store: s, host: linux{}, now: time.Now}
}

// A Request says who wants a CID and where.
type Request struct {
	Machine string    // whose the CID will be
	NS      *netns.NS // where the CID is claimed; stays the caller's
	Want    vsock.CID // this and no other; 0 lets the allocator choose
	Last    vsock.CID // what the machine had before in this space, or 0: taken again if it can be
	In      Range     // to choose from, instead of what the allocator's Ranges say; zero for those

	// Record, if set, writes what else belongs to the lease, in its transaction:
	// both are written or neither.
	Record func(*store.Tx, store.Space, vsock.CID) error
}

// Acquire chooses, records and claims a CID. The caller closes the lease. If
// Acquire fails nothing stays recorded or claimed but who was found to hold a
// CID.
//
// It fails with [*TakenError] if the wanted CID has an owner, with [ErrExhausted]
// if none could be had, with [vsock.ErrBadCID] if no guest may have the wanted
// one, and with whatever else the kernel, the store or Record said: only
// EADDRINUSE makes it try another number. A machine that already has a lease in
// the space has it renewed, and gives up the old number if the new one differs.
//
// A CID that was asked for, and that nobody in sight holds, is waited for a
// moment: see settleWait.
func (a *Allocator) Acquire(ctx context.Context, r Request) (*Lease, error) {
	p, err := a.host.look(r.NS)
	if err != nil {
		return nil, fmt.Errorf("acquire cid for machine %q: %w", r.Machine, err)
	}
	l, err := a.acquire(ctx, p, r)
	if err != nil {
		return nil, fmt.Errorf("acquire cid for machine %q: %w", r.Machine, err)
	}
	return l, nil
}

func (a *Allocator) acquire(ctx context.Context, p place, r Request) (*Lease, error) {
	var strangers []store.Lease
	settled := a.now().Add(settleWait)
	for refusals := 0; refusals < maxRefusals; {
		got, err := a.try(ctx, p, r, strangers)
		if err != nil || got.lease != nil {
			return got.lease, err
		}
		// The kernel refused got.cid. The store is closed: there is time to look.
		asked := got.cid == r.Want || got.cid == r.Last || got.ours
		who, found := a.host.who(p, got.cid)
		if asked && !found && a.now().Before(settled) {
			if err := pause(ctx, settlePoll); err != nil {
				return nil, fmt.Errorf("wait for cid %d to come free: %w", got.cid, err)
			}
			continue
		}
		if got.ours {
			return nil, a.refusedOwn(ctx, p, got.cid, r.Machine, who)
		}
		strangers = append(strangers, store.Lease{CID: got.cid, Space: p.space, Foreign: foreigner(who), Seen: a.now()})
		if got.cid == r.Want {
			return nil, a.foreignError(ctx, p, strangers)
		}
		refusals++
	}
	err := a.store.Update(ctx, func(tx *store.Tx) error { return remember(tx, strangers) })
	return nil, errors.Join(fmt.Errorf("%w: strangers hold all %d that were tried in space %s", ErrExhausted, maxRefusals, p.space), err)
}

// A result is what became of one try: a lease, or the CID the kernel refused.
type result struct {
	lease *Lease
	cid   vsock.CID
	ours  bool // the ledger has cid as this machine's own, or keeps it for it
}

// try is one transaction: remember strangers, choose, claim, record.
func (a *Allocator) try(ctx context.Context, p place, r Request, strangers []store.Lease) (got result, err error) {
	own, err := a.host.own()
	if err != nil {
		return result{}, err
	}
	var back undo.Stack
	defer func() { back.Unwind(ctx, &err) }()
	err = a.store.Update(ctx, func(tx *store.Tx) error {
		if err := remember(tx, strangers); err != nil {
			return err
		}
		book, err := a.open(tx, p, own)
		if r.In != (Range{}) {
			book.in, book.source = r.In, " (the machine's own range)"
		}
		if err != nil {
			return err
		}
		c, err := book.choose(r)
		if err != nil {
			return a.explain(tx, p, err)
		}
		g, err := a.host.hold(p, c)
		if errors.Is(err, vsock.ErrInUse) {
			l, err := book.at(c)
			got = result{cid: c, ours: l.Machine == r.Machine || l.Reserved != nil}
			return err
		}
		if err != nil {
			return err
		}
		back.Push("claim of cid "+c.String(), func(context.Context) error { return g.Close() })
		generation, err := a.record(tx, book, r, c)
		got = result{cid: c, lease: &Lease{allocator: a, guard: g, cid: c, space: p.space, machine: r.Machine, generation: generation}}
		return err
	})
	if err != nil {
		return result{}, err
	}
	back.Keep()
	return got, nil
}

// record writes that c is r.Machine's, and whatever r adds to that.
func (a *Allocator) record(tx *store.Tx, book book, r Request, c vsock.CID) (generation uint64, err error) {
	old, err := book.owned(r.Machine)
	if err != nil {
		return 0, err
	}
	if old != 0 && old != c {
		if err := a.Free(tx, book.space, old, r.Machine); err != nil {
			return 0, err
		}
	}
	before, err := book.at(c)
	if err != nil {
		return 0, err
	}
	if generation, err = tx.Generation(); err != nil {
		return 0, err
	}
	err = tx.PutLease(store.Lease{
		CID: c, Space: book.space, Machine: r.Machine, Taken: a.now(), Generation: generation, Reserved: before.Reserved,
	})
	if err != nil || r.Record == nil {
		return generation, err
	}
	return generation, r.Record(tx, book.space, c)
}

// Release gives c in space back if it is machine's, and starts its cool-down.
// Releasing what is no longer, or never was, machine's is fine. It fails as
// [store.Store.Update] does.
//
// It is the ledger's half only: the kernel frees a CID when the last copy of the
// held descriptor is closed.
func (a *Allocator) Release(ctx context.Context, space store.Space, c vsock.CID, machine string) error {
	err := a.store.Update(ctx, func(tx *store.Tx) error { return a.Free(tx, space, c, machine) })
	if err != nil {
		return fmt.Errorf("release cid %d of machine %q: %w", c, machine, err)
	}
	return nil
}

// Free is Release inside the caller's transaction. It fails if the ledger can't
// be read or written.
func (a *Allocator) Free(tx *store.Tx, space store.Space, c vsock.CID, machine string) error {
	l, err := tx.Lease(space, c)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || l.Machine != machine {
		return err
	}
	return tx.PutLease(freed(l, a.now()))
}

// freed returns l after its machine has given it back: cooling, or again only
// reserved.
func freed(l store.Lease, now time.Time) store.Lease {
	if l.Reserved != nil {
		return store.Lease{CID: l.CID, Space: l.Space, Reserved: l.Reserved}
	}
	return store.Lease{CID: l.CID, Space: l.Space, Freed: now, Last: l.Machine}
}

// remember writes down who holds CIDs that the kernel refused. One that has become
// a machine's since, while the store was closed, is no stranger's; one that is
// reserved stays that.
func remember(tx *store.Tx, strangers []store.Lease) error {
	for _, s := range strangers {
		l, err := tx.Lease(s.Space, s.CID)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if l.Machine != "" || l.Reserved != nil {
			continue
		}
		if err := tx.PutLease(s); err != nil {
			return err
		}
	}
	return nil
}

// pause waits for d, or fails with ctx's error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A Lease is a CID that belongs to a machine and is claimed in the kernel. It
// holds a descriptor: close it, or hand it to QEMU first. It is not safe for
// concurrent use.
type Lease struct {
	allocator *Allocator
	guard     guard
	cid       vsock.CID
	space     store.Space
	machine   string

	generation uint64
}

// CID returns the CID.
func (l *Lease) CID() vsock.CID { return l.cid }

// Space returns the space the CID is unique in.
func (l *Lease) Space() store.Space { return l.space }

// File returns the /dev/vhost-vsock descriptor that holds the CID, for QEMU's
// vhostfd=. It stays the lease's.
func (l *Lease) File() *os.File { return l.guard.File() }

// Close closes this process's descriptor and leaves the record: the CID is the
// machine's, and stays claimed as long as QEMU has its copy. Twice is fine.
func (l *Lease) Close() error { return l.guard.Close() }

// Release closes the descriptor and gives the CID back, unless the machine has
// come to it anew since. It fails if the ledger could not be written. Twice is
// fine.
func (l *Lease) Release(ctx context.Context) error {
	err := l.allocator.store.Update(ctx, func(tx *store.Tx) error {
		now, err := tx.Lease(l.space, l.cid)
		if errors.Is(err, fs.ErrNotExist) || err == nil && now.Generation != l.generation {
			return nil
		}
		if err != nil {
			return err
		}
		return l.allocator.Free(tx, l.space, l.cid, l.machine)
	})
	if err != nil {
		err = fmt.Errorf("release cid %d of machine %q: %w", l.cid, l.machine, err)
	}
	return errors.Join(l.Close(), err)
}
