package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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

// makeNamespace makes the namespace called ref. The intent is recorded first: a
// launch that dies between the two leaves a record by which [Launcher.Reconcile]
// finds the namespace.
func (a *attempt) makeNamespace(ctx context.Context, ref string, mode vsock.Mode) error {
	a.rec.Netns = store.NetnsRef{Ref: ref, Mode: mode, Created: true}
	if err := a.recordIntent(ctx); err != nil {
		return err
	}
	ns, err := netns.Create(ref, mode)
	if err != nil {
		return err
	}
	a.ns = ns
	a.rec.Netns.ID = ns.ID()
	made := a.rec.Netns
	a.back.Push("netns", func(ctx context.Context) error {
		a.ns.Close()
		return a.l.dropNamespace(ctx, made, a.rec.Name)
	})
	return nil
}

// dropNamespace removes the namespace that a launch made, if no other machine
// is in it; else it becomes that machine's to remove. What somebody else made
// under the name meanwhile stays. None is fine. The caller holds no netns lock.
func (l *Launcher) dropNamespace(ctx context.Context, ref store.NetnsRef, machine string) error {
	k, err := l.lockNetns(ctx, ref.Ref)
	if err != nil {
		return err
	}
	defer k.release()
	handed := false
	err = l.Store.Update(ctx, func(tx *store.Tx) error {
		handed, err = handOver(tx, ref, machine)
		return err
	})
	if err != nil || handed {
		return err
	}
	ns, err := netns.Open(ref.Ref)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return dropPin(ref.Ref) // nothing, or a pin that a killed creator left
	case err != nil:
		return err
	}
	id := ns.ID()
	busy, err := ns.Processes()
	ns.Close()
	if !ref.ID.IsZero() && id != ref.ID {
		return nil
	}
	if ref.ID.IsZero() && (err != nil || len(busy) > 0) {
		return err // made by we don't know whom, and used
	}
	return dropPin(ref.Ref)
}

func dropPin(name string) error {
	if err := netns.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// handOver makes another machine in the namespace the one it goes with, and
// reports whether there is one.
func handOver(tx *store.Tx, ref store.NetnsRef, machine string) (bool, error) {
	all, err := tx.Machines()
	if err != nil {
		return false, err
	}
	for _, m := range all {
		same := m.Netns.Ref == ref.Ref && (ref.ID.IsZero() || m.Netns.ID == ref.ID)
		if m.Name == machine || !same {
			continue
		}
		m.Netns.Created = true
		return true, tx.PutMachine(m)
	}
	return false, nil
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
