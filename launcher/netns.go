package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/vmlaunch/vmlaunch/internal/undo"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// A NetnsOption says more about a namespace that is made.
type NetnsOption func(*store.Netns)

// OfLab makes a namespace one of the lab called name; see [Launcher.Netnses].
func OfLab(name string) NetnsOption { return func(n *store.Netns) { n.Lab = name } }

// CreateNetns makes the network namespace called name with mode m, and records
// that it is ours. Which one it is, is recorded before it has the name, so a
// pin that nobody knows is never left. It fails as netns.Create does, and if the
// record can't be written; then nothing is left behind.
func (l *Launcher) CreateNetns(ctx context.Context, name string, m vsock.Mode, opts ...NetnsOption) (err error) {
	if err := netns.ValidName(name); err != nil {
		return err
	}
	k, err := l.lockNetns(ctx, name)
	if err != nil {
		return err
	}
	defer k.release()
	var back undo.Stack
	defer func() { back.Unwind(ctx, &err) }()
	rec := store.Netns{Name: name, Mode: m, Created: time.Now(), Pending: true}
	for _, o := range opts {
		o(&rec)
	}
	ns, err := netns.CreateKnown(name, m, func(ns *netns.NS) error {
		rec.ID = ns.ID()
		l.step("netns-create:record")
		if err := l.putNetns(ctx, rec); err != nil {
			return err
		}
		back.Push("record of netns", func(ctx context.Context) error { return l.forgetNetns(ctx, name) })
		back.Push("card of netns", func(context.Context) error { return l.dropNetnsCard(name) })
		if err := l.keepNetnsCard(rec); err != nil {
			return err
		}
		l.step("netns-create:pin")
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	defer ns.Close()
	back.Push("netns", func(context.Context) error { return unpin(name, rec.ID) })
	l.step("netns-create:confirm")
	rec.Pending = false
	if err := l.putNetns(ctx, rec); err != nil {
		return err
	}
	l.step("netns-create:done")
	back.Keep()
	return nil
}

// Netnses returns the namespaces that vmlaunch made, by name. It fails as
// store.Store.View does.
func (l *Launcher) Netnses(ctx context.Context) (all []store.Netns, err error) {
	err = l.Store.View(ctx, func(tx *store.Tx) (err error) {
		all, err = tx.Netnses()
		return err
	})
	return all, err
}

func (l *Launcher) putNetns(ctx context.Context, n store.Netns) error {
	return l.Store.Update(ctx, func(tx *store.Tx) error { return tx.PutNetns(n) })
}

// forgetNetns deletes the record of the namespace called name, and the CID
// spaces that the namespaces gone were; the zero ID is none.
func (l *Launcher) forgetNetns(ctx context.Context, name string, gone ...netns.ID) error {
	return l.Store.Update(ctx, func(tx *store.Tx) error {
		for _, id := range gone {
			if id.IsZero() {
				continue
			}
			if err := forgetSpace(tx, id); err != nil {
				return err
			}
		}
		return tx.DeleteNetns(name)
	})
}

// RemoveNetns takes the name off a namespace, whoever gave it, and forgets the
// namespace. A record without a namespace goes as well. It fails with an
// [*InUseError] while a machine lives there, and as netns.Remove does.
func (l *Launcher) RemoveNetns(ctx context.Context, name string) error {
	k, err := l.lockNetns(ctx, name) // no launch into it is under way
	if err != nil {
		return err
	}
	defer k.release()
	var id netns.ID
	switch ns, err := netns.Open(name); {
	case err == nil:
		id = ns.ID()
		ns.Close()
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	rec, err := l.vacant(ctx, name, id)
	if err != nil {
		return err
	}
	before := rec.ID
	if rec.Name != "" { // else it is not ours, and nobody need finish it
		l.step("netns-rm:record")
		rec.Pending, rec.ID = true, id
		if err := l.putNetns(ctx, rec); err != nil {
			return err
		}
	}
	l.step("netns-rm:unpin")
	gone := netns.Remove(name)
	absent := errors.Is(gone, fs.ErrNotExist)
	ctx = context.WithoutCancel(ctx)
	switch {
	case rec.Name == "" && gone != nil:
		return gone
	case gone != nil && !absent:
		rec.Pending = false
		return errors.Join(gone, l.putNetns(ctx, rec))
	}
	l.step("netns-rm:forget")
	if err := l.dropNetnsCard(name); err != nil {
		return err
	}
	if err := l.forgetNetns(ctx, name, before, id); err != nil {
		return err
	}
	l.step("netns-rm:done")
	return nil
}

// vacant returns the record of the namespace called name, the zero one if it is
// not ours. It fails with an [*InUseError] if a machine lives in the namespace id.
func (l *Launcher) vacant(ctx context.Context, name string, id netns.ID) (store.Netns, error) {
	var rec store.Netns
	err := l.Store.View(ctx, func(tx *store.Tx) (err error) {
		if rec, err = tx.Netns(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		users, err := machinesIn(tx, id)
		if err == nil && len(users) > 0 {
			err = &InUseError{name, users}
		}
		return err
	})
	return rec, err
}

// machinesIn returns the names of the machines that live in the namespace id;
// none for the zero ID.
func machinesIn(tx *store.Tx, id netns.ID) ([]string, error) {
	machines, err := tx.Machines()
	var names []string
	for _, m := range machines {
		if !id.IsZero() && m.Netns.ID == id {
			names = append(names, m.Name)
		}
	}
	return names, err
}

// halfDone is why a namespace whose record is pending is repaired.
const halfDone = "its making or removal was broken off"

// repairNetns finishes what was begun with the namespace of a record that is
// pending, if nobody is at work on it: the name is taken off the namespace,
// unless a machine has moved in.
func (l *Launcher) repairNetns(ctx context.Context, name string) ([]Repair, error) {
	k, err := tryLock(l.lockPath("netns", name))
	if errors.Is(err, errLocked) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer k.release()
	var rec store.Netns
	var users []string
	err = l.Store.View(ctx, func(tx *store.Tx) (err error) {
		if rec, err = tx.Netns(name); err == nil {
			users, err = machinesIn(tx, rec.ID)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) || err == nil && !rec.Pending {
		return nil, nil // somebody was quicker
	}
	what := "keep"
	switch {
	case err != nil:
	case len(users) > 0:
		rec.Pending = false
		err = l.putNetns(ctx, rec)
	default:
		what = "remove"
		if err = errors.Join(unpin(name, rec.ID), l.dropNetnsCard(name)); err == nil {
			err = l.forgetNetns(ctx, name, rec.ID)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("repair netns %q: %w", name, err)
	}
	return []Repair{{What: fmt.Sprintf("%s netns %q", what, name), Why: halfDone}}, nil
}
