package launcher

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/vmlaunch/vmlaunch/cidalloc"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

const (
	// freeWait bounds the wait for the kernel to let go of a CID whose QEMU has
	// ended: 15 to 230 ms were seen, emulated (KERNEL.md, fact 14).
	freeWait = 5 * time.Second
	// freePoll is the time between two looks.
	freePoll = 20 * time.Millisecond
)

// A claim is a CID that is recorded as the machine's and held in the kernel; it
// is a [*cidalloc.Lease], or a double of one.
type claim interface {
	CID() vsock.CID
	Space() store.Space
	File() *os.File
	Close() error
}

// cids is the part of this package that needs /dev/vhost-vsock. The double
// stands in for it on hosts that have none; nests show the truth.
type cids interface {
	// check fails if no CID can be claimed here at all.
	check() error
	acquire(context.Context, cidalloc.Request) (claim, error)
	// free reports whether nobody claims c in ns.
	free(ns *netns.NS, c vsock.CID) (bool, error)
}

// vhost is the real thing.
type vhost struct{ alloc *cidalloc.Allocator }

func (v vhost) check() error { return checkVhost() }

func (v vhost) acquire(ctx context.Context, r cidalloc.Request) (claim, error) {
	lease, err := v.alloc.Acquire(ctx, r)
	if err != nil {
		return nil, err // not a nil *Lease in an interface
	}
	return lease, nil
}

func (v vhost) free(ns *netns.NS, c vsock.CID) (free bool, err error) {
	err = ns.Do(func() error {
		claimed, err := vsock.Claimed(c)
		free = !claimed
		return err
	})
	return free, err
}

// takeCID chooses, records and holds the CID, and records the machine in the
// same transaction.
func (a *attempt) takeCID(ctx context.Context) error {
	got, err := a.l.cids.acquire(ctx, cidalloc.Request{
		Machine: a.rec.Name,
		NS:      a.ns,
		Want:    vsock.CID(a.rec.Spec.CID),
		Last:    a.before.CID,
		In:      cidalloc.Range{First: vsock.CID(a.rec.Spec.CIDRange.First), Last: vsock.CID(a.rec.Spec.CIDRange.Last)},
		Record: func(tx *store.Tx, space store.Space, c vsock.CID) error {
			a.rec.Phase, a.rec.Space, a.rec.CID = store.Starting, space, c
			if old := a.before; old.CID != 0 && old.Space != space { // its namespace is gone
				if err := a.l.Alloc.Free(tx, old.Space, old.CID, old.Name); err != nil {
					return err
				}
			}
			return a.put(tx)
		},
	})
	if err != nil {
		a.rec.Space, a.rec.CID = a.before.Space, a.before.CID // nothing was recorded
		return err
	}
	a.claim = got
	if !a.recorded {
		a.recorded = true
		a.back.Push("record", a.unrecord)
	}
	a.back.Push("claim of cid", func(context.Context) error { return a.claim.Close() })
	a.nsLock.release() // the record keeps the namespace from now on
	return nil
}

// awaitFree waits until the kernel has let go of the machine's CID, so that
// whoever is told that the machine is down can take the number at once. It
// fails if that takes longer than [freeWait]; somebody else may hold it then.
func (l *Launcher) awaitFree(ctx context.Context, ns *netns.NS, m store.Machine) error {
	ctx, cancel := context.WithTimeout(ctx, freeWait)
	defer cancel()
	tick := time.NewTicker(freePoll)
	defer tick.Stop()
	for {
		free, err := l.cids.free(ns, m.CID)
		if free || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for cid %d of machine %q to come free: %w", m.CID, m.Name, ctx.Err())
		case <-tick.C:
		}
	}
}
