package cidalloc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

var (
	// ErrTaken says that a CID has an owner. It comes as a [*TakenError].
	ErrTaken = errors.New("cid is taken")

	// ErrExhausted says that no CID could be had in a space.
	ErrExhausted = errors.New("no cid left")
)

const (
	thisHost  = "hypervisor: it is this host's own, which is a guest"
	anonymous = "process that was not found"
)

// A TakenError says who has the CID that was asked for.
type TakenError struct {
	CID     vsock.CID
	Space   store.Space
	Ref     string // the namespace it was asked for in, as in netns.Open
	Holder  string // `machine "db" (pid 4711)`, or for a stranger `pid 4711 ("qemu …")`
	Foreign bool   // no machine of ours has it, the kernel refused it

	Reserved *store.Reservation // nobody has it, but it is kept for somebody else

	Differs string // what the kernel says that the ledger does not, or empty
}

func (e *TakenError) Error() string {
	text := e.title() + ": "
	switch {
	case e.Reserved != nil:
		text += reservation(*e.Reserved)
	case e.Foreign:
		text += "held by foreign " + e.Holder
	default:
		text += "held by " + e.Holder
	}
	if e.Differs != "" {
		text += ", " + e.Differs
	}
	if e.Reserved != nil {
		text += " (vmlaunch cid release " + e.CID.String() + where(e.Ref) + ")"
	}
	return text
}

// title names the CID and where it was asked for.
func (e *TakenError) title() string {
	text := fmt.Sprintf("cid %d", e.CID)
	if e.Ref != "" {
		text += fmt.Sprintf(" in netns %q", e.Ref)
	}
	return text
}

// where returns the flag that leads a command to the namespace ref.
func where(ref string) string {
	if ref == "" {
		return ""
	}
	return " --netns " + ref
}

// reservation says what a reservation is.
func reservation(r store.Reservation) string {
	text := "reserved"
	if r.For != "" {
		text += fmt.Sprintf(" for machine %q", r.For)
	}
	if r.Note != "" {
		text += fmt.Sprintf(" (%s)", r.Note)
	}
	return text
}

// Is reports whether target is [ErrTaken].
func (e *TakenError) Is(target error) bool { return target == ErrTaken }

// foreigner returns the words for a stranger, found or not.
func foreigner(who string) string {
	if who == "" {
		return anonymous
	}
	return who
}

// explain completes a choice's error with what only the ledger and the place
// know.
func (a *Allocator) explain(tx *store.Tx, p place, err error) error {
	var taken *TakenError
	if !errors.As(err, &taken) {
		return err
	}
	full := *taken
	full.Ref = p.ref
	if !full.Foreign && full.Reserved == nil {
		owner, err := describe(tx, taken.Holder, p)
		if err != nil {
			return err
		}
		full.Holder = owner
	}
	return &full
}

// foreignError remembers strangers and says that the last of them holds the CID
// that was asked for, or which machine has got it since.
func (a *Allocator) foreignError(ctx context.Context, p place, strangers []store.Lease) error {
	s := strangers[len(strangers)-1]
	taken := &TakenError{CID: s.CID, Space: p.space, Ref: p.ref, Holder: s.Foreign, Foreign: true}
	err := a.store.Update(ctx, func(tx *store.Tx) error {
		if err := remember(tx, strangers); err != nil {
			return err
		}
		l, err := tx.Lease(s.Space, s.CID)
		if err != nil || l.Machine == "" {
			return err
		}
		taken.Foreign = false
		taken.Holder, err = describe(tx, l.Machine, p)
		return err
	})
	if err != nil {
		return errors.Join(taken, err)
	}
	return taken
}

// refusedOwn says who keeps machine from its own CID c: its QEMU that ends
// slowly, or a stranger that took the number while the machine was down.
func (a *Allocator) refusedOwn(ctx context.Context, p place, c vsock.CID, machine, who string) error {
	taken := &TakenError{CID: c, Space: p.space, Ref: p.ref, Holder: foreigner(who), Foreign: true}
	err := a.store.View(ctx, func(tx *store.Tx) error {
		m, err := tx.Machine(machine)
		if errors.Is(err, fs.ErrNotExist) || err == nil && m.QEMU.IsZero() {
			return nil
		}
		if err != nil {
			return err
		}
		taken.Foreign = false
		taken.Holder, err = describe(tx, machine, p)
		return err
	})
	if err != nil {
		return errors.Join(taken, err)
	}
	return taken
}

// describe names the machine that owns a CID, with what helps to find it as seen
// from p. Whether it still runs is not asked: the launcher's to judge.
func describe(tx *store.Tx, machine string, p place) (string, error) {
	name := fmt.Sprintf("machine %q", machine)
	m, err := tx.Machine(machine)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return name + " (of which there is no other record)", nil
	case err != nil:
		return "", err
	}
	if m.Netns.Ref != p.ref && m.Netns.Ref != "" {
		name += fmt.Sprintf(" in netns %q", m.Netns.Ref)
	}
	if !m.QEMU.IsZero() {
		return fmt.Sprintf("%s (%v)", name, m.QEMU), nil
	}
	return fmt.Sprintf("%s (%s)", name, m.Phase), nil
}
