package cidalloc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// A Status is what ledger and kernel say of one CID, asked in one namespace at
// one moment.
type Status struct {
	Row
	Asked string `json:"asked"` // where, as in netns.Open; "" is the host's own namespace
	Free  bool   `json:"free"`  // a start that asks for the number would get it
	Says  string `json:"says"`  // all of it in words

	taken *TakenError
}

// Err returns nil if a new machine that asks for the CID would get it, and the
// [*TakenError] that it would get otherwise.
func (s Status) Err() error {
	if s.taken == nil {
		return nil
	}
	return s.taken
}

// Nobody reports whether nothing and nobody has to do with the CID.
func (s Status) Nobody() bool { return s.State == Free }

// Look asks ledger and kernel about c, as seen from ns, and claims nothing. It
// fails with [vsock.ErrBadCID] if no guest may have c, and if kernel or ledger
// can't be asked.
func (a *Allocator) Look(ctx context.Context, ns *netns.NS, c vsock.CID) (Status, error) {
	s, err := a.lookAt(ctx, ns, c)
	if err != nil {
		return Status{}, fmt.Errorf("look at cid %d: %w", c, err)
	}
	return s, nil
}

func (a *Allocator) lookAt(ctx context.Context, ns *netns.NS, c vsock.CID) (Status, error) {
	if !c.Guest() {
		return Status{}, fmt.Errorf("%w (want %d to %d)", vsock.ErrBadCID, vsock.FirstGuest, vsock.LastGuest)
	}
	p, err := a.host.look(ns)
	if err != nil {
		return Status{}, err
	}
	own, err := a.host.own()
	if err != nil {
		return Status{}, err
	}
	f := facts{cid: c, place: p, now: a.now(), own: c == own}
	err = a.store.View(ctx, func(tx *store.Tx) error {
		// Kernel and ledger are asked in one transaction, so that no machine of ours
		// comes to the number in between.
		held, err := a.host.claimed(p, c)
		if err != nil {
			return err
		}
		f.held = held[0]
		return f.read(tx)
	})
	if err != nil {
		return Status{}, err
	}
	if f.held && !f.own && !f.alive {
		f.stranger, _ = a.host.who(p, c)
	}
	return f.judge(), nil
}

// facts are what a Status is judged by.
type facts struct {
	cid   vsock.CID
	place place
	now   time.Time

	own      bool        // it is this host's, which is a guest
	held     bool        // the kernel says that somebody has it
	lease    store.Lease // the zero Lease if nothing is recorded that still counts
	row      Row         // of lease
	machine  string      // lease's machine in words
	alive    bool        // that machine's QEMU, or the vmlaunch at work on it, runs
	stranger string      // who holds it, if it is none of ours
}

// read takes from the ledger what it says of the CID.
func (f *facts) read(tx *store.Tx) error {
	l, err := tx.Lease(f.place.space, f.cid)
	if errors.Is(err, fs.ErrNotExist) || err == nil && stale(l, f.now) {
		return nil
	}
	if err != nil {
		return err
	}
	f.lease = l
	if f.row, err = rowOf(tx, l); err != nil || l.Machine == "" {
		return err
	}
	if f.machine, err = describe(tx, l.Machine, f.place); err != nil {
		return err
	}
	m, err := tx.Machine(l.Machine)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	f.alive = m.QEMU.Alive() || m.Launcher.Alive()
	return err
}

// judge says what f means. It asks nobody.
func (f facts) judge() Status {
	s := Status{Row: f.row, Asked: f.place.ref}
	s.CID, s.Space, s.Mode, s.Held = f.cid, f.place.space, f.place.space.Mode(), &f.held
	taken := &TakenError{CID: f.cid, Space: f.place.space, Ref: f.place.ref}
	l, foreign := f.lease, "foreign "+foreigner(f.stranger)
	switch {
	case f.own:
		s.State, s.Holder = Host, thisHost
		taken.Holder, taken.Foreign = thisHost, true
	case l.Machine != "":
		taken.Holder = f.machine
		switch {
		case f.held && !f.alive:
			s.Holder = foreigner(f.stranger)
			taken.Differs = "but in the kernel by " + foreign
		case !f.held && f.alive:
			taken.Differs = "but in the kernel by nobody"
		}
	case l.Reserved != nil:
		taken.Reserved = l.Reserved
		if f.held {
			s.Holder = foreigner(f.stranger)
			taken.Differs = "held by " + foreign
		}
	case f.held:
		s.State, s.Holder = Foreign, foreigner(f.stranger)
		taken.Holder, taken.Foreign = s.Holder, true
	default:
		s.Free = true
		if s.State != Cooling {
			s.Row = Row{CID: s.CID, Space: s.Space, Mode: s.Mode, State: Free, Held: s.Held}
		}
		s.Says = taken.title() + ": free" + f.lately()
		return s
	}
	s.taken, s.Says = taken, taken.Error()
	return s
}

// lately says who had a free CID a moment ago, and for how long that keeps it
// from who does not ask for it by number.
func (f facts) lately() string {
	ago := func(since time.Time, d time.Duration) string {
		age := f.now.Sub(since)
		return fmt.Sprintf("%s ago; chosen unasked again in %s", age.Round(time.Second), (d - age).Round(time.Second))
	}
	switch {
	case !f.lease.Freed.IsZero():
		return fmt.Sprintf(" (machine %q gave it back %s)", f.lease.Last, ago(f.lease.Freed, coolDown))
	case f.lease.Foreign != "":
		return fmt.Sprintf(" (%s had it %s)", f.lease.Foreign, ago(f.lease.Seen, foreignMemory))
	}
	return ""
}
