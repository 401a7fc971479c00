package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// openNamespace opens the namespace that the spec names, or makes it where the
// spec says which mode it is to have. It sets a.ns and the record's Netns.
func (a *attempt) openNamespace(ctx context.Context) error {
	ref := a.rec.Spec.Netns
	want, err := wantMode(a.rec)
	if err != nil {
		return err
	}
	ns, err := netns.Open(ref)
	if errors.Is(err, fs.ErrNotExist) && isPin(ref) && want != 0 {
		ns, err = a.openAlone(ctx, ref)
	}
	if errors.Is(err, fs.ErrNotExist) && isPin(ref) {
		if want == 0 {
			return fmt.Errorf("%w (vmlaunch netns create %s --vsock local)", err, ref)
		}
		return a.makeNamespace(ctx, ref, want)
	}
	if err != nil {
		return err
	}
	a.ns = ns
	have, err := ns.Mode()
	if err != nil {
		return err
	}
	if want != 0 && have != want {
		return &ModeError{Ref: ref, Have: have, Want: want}
	}
	// Whether it goes with the machine is told by the record, but only while it
	// is still the same one.
	created := a.rec.Netns.Created && a.rec.Netns.ID == ns.ID()
	a.rec.Netns = store.NetnsRef{Ref: ref, ID: ns.ID(), Mode: have, Created: created}
	return nil
}

// openAlone opens the namespace ref again under its lock alone: whoever makes it
// must be the only one, and somebody may have been quicker.
func (a *attempt) openAlone(ctx context.Context, ref string) (*netns.NS, error) {
	a.nsLock.release()
	k, err := a.l.lockNetns(ctx, ref)
	if err != nil {
		return nil, err
	}
	a.nsLock = k
	return netns.Open(ref)
}

// wantMode returns the mode that the machine's namespace must have, 0 if any
// will do.
func wantMode(m store.Machine) (vsock.Mode, error) {
	if m.Spec.Vsock == "" {
		if m.Netns.Created {
			return m.Netns.Mode, nil
		}
		return 0, nil
	}
	return vsock.ParseMode(m.Spec.Vsock)
}

// isPin reports whether ref is a name that a namespace could be made under.
func isPin(ref string) bool {
	return ref != "" && !strings.Contains(ref, "/") && !strings.HasPrefix(ref, "pid:") && netns.ValidName(ref) == nil
}

// makeNamespace makes the namespace called ref. Which one it is, is recorded
// before it has the name: a launch that dies between the two leaves a record by
// which [Launcher.Reconcile] finds the namespace. It goes with the record when
// the attempt fails.
func (a *attempt) makeNamespace(ctx context.Context, ref string, mode vsock.Mode) error {
	ns, err := netns.CreateKnown(ref, mode, func(ns *netns.NS) error {
		a.rec.Netns = store.NetnsRef{Ref: ref, ID: ns.ID(), Mode: mode, Created: true}
		a.made = true
		return a.recordIntent(ctx)
	})
	a.ns = ns
	return err
}

// dropNamespace removes the namespace that was made for a machine, if no other
// one is in it; else it becomes that one's to remove. What somebody else made
// under the name meanwhile stays. None is fine. The caller holds the lock of
// the namespace.
func (l *Launcher) dropNamespace(ctx context.Context, ref store.NetnsRef, machine string) error {
	var heir store.Machine
	err := l.Store.Update(ctx, func(tx *store.Tx) (err error) {
		heir, err = handOver(tx, ref, machine)
		return err
	})
	if err != nil {
		return err
	}
	if heir.Name != "" {
		return l.keepCard(heir)
	}
	return unpin(ref.Ref, ref.ID)
}

// forgetSpace forgets the CID space that the namespace id was, unless a machine
// still has a CID there. Global namespaces have none of their own.
func forgetSpace(tx *store.Tx, id netns.ID) error {
	s := store.SpaceOf(id, vsock.Local)
	leases, err := tx.Leases(s)
	if err != nil || slices.ContainsFunc(leases, func(l store.Lease) bool { return l.Machine != "" }) {
		return err
	}
	return tx.DeleteSpace(s)
}

// unpin takes name off the namespace id, if that still has it: what somebody
// else made under the name stays. None is fine, and half a pin, which a killed
// creator left, goes.
func unpin(name string, id netns.ID) error {
	switch ns, err := netns.Open(name); {
	case err == nil:
		defer ns.Close()
		if ns.ID() != id {
			return nil
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := netns.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// forget removes the namespace of m if it goes with m, frees m's CID and
// deletes its record, in this order: whatever breaks it off, it can be tried
// again. It looks at the record anew, since another machine may just have made
// the namespace m's to remove.
func (l *Launcher) forget(ctx context.Context, m store.Machine) error {
	if isPin(m.Netns.Ref) {
		k, err := l.lockNetns(ctx, m.Netns.Ref)
		if err != nil {
			return err
		}
		defer k.release()
	}
	ref := m.Netns
	if now, err := l.record(ctx, m.Name); err == nil {
		ref.Created = now.Netns.Created
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l.step("rm:network")
	if err := l.dropBridge(ctx, m); err != nil {
		return err
	}
	l.step("rm:netns")
	if ref.Created {
		if err := l.dropNamespace(ctx, ref, m.Name); err != nil {
			return err
		}
	}
	l.step("rm:ledger")
	return l.Store.Update(ctx, func(tx *store.Tx) error {
		if err := tx.DeleteMachine(m.Name); err != nil || m.CID == 0 {
			return err
		}
		if err := l.Alloc.Free(tx, m.Space, m.CID, m.Name); err != nil || !ref.Created {
			return err
		}
		return forgetSpace(tx, ref.ID)
	})
}

// handOver makes another machine in the namespace the one it goes with, and
// returns that; the zero Machine if there is none.
func handOver(tx *store.Tx, ref store.NetnsRef, machine string) (store.Machine, error) {
	all, err := tx.Machines()
	if err != nil {
		return store.Machine{}, err
	}
	for _, m := range all {
		if m.Name == machine || m.Netns.Ref != ref.Ref || m.Netns.ID != ref.ID {
			continue
		}
		m.Netns.Created = true
		return m, tx.PutMachine(m)
	}
	return store.Machine{}, nil
}

// Namespace opens the namespace that the machine called name lives in, and
// returns its record too. The caller closes the namespace. While QEMU runs it
// is reached through QEMU, so it is the right one even after its name is gone.
// It fails with [fs.ErrNotExist] if there is no such machine or namespace.
func (l *Launcher) Namespace(ctx context.Context, name string) (*netns.NS, store.Machine, error) {
	m, err := l.record(ctx, name)
	if err != nil {
		return nil, store.Machine{}, err
	}
	ns, err := enter(m)
	if err != nil {
		return nil, store.Machine{}, fmt.Errorf("machine %q: %w", name, err)
	}
	return ns, m, nil
}

// enter opens the namespace of m. The caller closes it.
func enter(m store.Machine) (*netns.NS, error) {
	if m.QEMU.Alive() {
		ns, err := netns.Open(fmt.Sprintf("pid:%d", m.QEMU.PID))
		// The pid was QEMU's before and is after, so it was meanwhile.
		if err == nil && m.QEMU.Alive() && ns.ID() == m.Netns.ID {
			return ns, nil
		}
		if err == nil {
			ns.Close()
		}
	}
	ns, err := netns.Open(m.Netns.Ref)
	if err != nil {
		return nil, err
	}
	if ns.ID() != m.Netns.ID {
		ns.Close()
		return nil, fmt.Errorf("%s: another namespace has that name now: %w", netnsTitle(m.Netns.Ref), fs.ErrNotExist)
	}
	return ns, nil
}

// record returns the record of the machine called name, or an error that
// matches [fs.ErrNotExist].
func (l *Launcher) record(ctx context.Context, name string) (store.Machine, error) {
	if err := checkName(name); err != nil {
		return store.Machine{}, err
	}
	var m store.Machine
	err := l.Store.View(ctx, func(tx *store.Tx) (err error) {
		m, err = tx.Machine(name)
		return err
	})
	return m, err
}
