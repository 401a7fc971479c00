package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
)

// A Repair is something that was put right.
type Repair struct {
	Machine string // "" if it was about none
	What    string // was done
	Why     string
}

// String returns the repair in one line.
func (r Repair) String() string {
	if r.Machine == "" {
		return fmt.Sprintf("repair: %s: %s", r.What, r.Why)
	}
	return fmt.Sprintf("repair machine %q: %s: %s", r.Machine, r.What, r.Why)
}

// A remedy is what a machine's record needs to be true again.
type remedy int

const (
	leave   remedy = iota
	takeOff        // a first launch was broken off: remove all that it made
	setDown        // it is down: end what is left, record that
	setBack        // a stop was broken off, and it runs on
)

// diagnose says what m needs. It is a pure function.
func diagnose(m store.Machine, f facts) (r remedy, why string) {
	switch {
	case f.atWork:
		return leave, ""
	case m.Phase == store.Starting && m.Started.IsZero():
		return takeOff, "its launch was broken off"
	case m.Phase == store.Starting:
		return setDown, "its start was broken off"
	case m.Phase == store.Stopping && f.alive:
		return setBack, "its stop was broken off"
	case m.Phase == store.Stopping:
		return setDown, "its stop was broken off"
	case m.Phase == store.Running && !f.alive:
		_, cause := decide(m, f)
		return setDown, cause
	}
	return leave, ""
}

// Reconcile puts the records right about what has happened since the last
// command: launches and stops that were broken off, QEMUs that have ended, a
// host that was restarted. What it can't repair it leaves, and says so in its
// error, together with what it did repair. Machines that a verb is at work on are left
// alone. Without anything to repair it writes nothing.
func (l *Launcher) Reconcile(ctx context.Context) ([]Repair, error) {
	var machines []store.Machine
	var stale []staleLease
	boot, err := netns.BootID()
	if err != nil {
		return nil, err
	}
	err = l.Store.View(ctx, func(tx *store.Tx) (err error) {
		if machines, err = tx.Machines(); err != nil {
			return err
		}
		stale, err = staleLeases(tx, machines, boot)
		return err
	})
	if err != nil {
		return nil, err
	}
	var done []Repair
	var errs []error
	add := func(r []Repair, err error) {
		done = append(done, r...)
		if err != nil {
			errs = append(errs, err)
		}
	}
	for _, m := range machines {
		if r, _ := diagnose(m, l.see(m, l.atWork(m.Name))); r != leave {
			add(l.repair(ctx, m.Name))
		}
	}
	add(l.repairRunFolders(ctx, machines))
	if len(stale) > 0 {
		add(l.repairLeases(ctx, boot))
	}
	l.sweepLocks()
	return done, errors.Join(errs...)
}

// repair gives the machine called name what it needs, under its lock.
func (l *Launcher) repair(ctx context.Context, name string) ([]Repair, error) {
	k, err := tryLock(l.lockPath("machine", name))
	if errors.Is(err, errLocked) {
		return nil, nil // somebody is at it already
	}
	if err != nil {
		return nil, err
	}
	defer k.release()
	m, err := l.record(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r, why := diagnose(m, l.see(m, false))
	what := ""
	switch r {
	case leave:
		return nil, nil
	case takeOff:
		what, err = "removed what it had made", l.takeOff(ctx, m)
	case setDown:
		what, err = "set down", l.setDown(ctx, m)
	case setBack:
		what = "runs on"
		_, err = l.update(ctx, m, func(m *store.Machine) { m.Phase = store.Running })
	}
	if err != nil {
		return nil, fmt.Errorf("repair machine %q (%s): %w", name, why, err)
	}
	return []Repair{{name, what, why}}, nil
}

// takeOff removes all that a launch had made before it was broken off.
func (l *Launcher) takeOff(ctx context.Context, m store.Machine) error {
	if err := l.setDown(ctx, m); err != nil {
		return err
	}
	return l.remove(ctx, m)
}

// setDown ends what runs of a machine, also a QEMU that was started but not
// recorded, and records that it is down.
func (l *Launcher) setDown(ctx context.Context, m store.Machine) error {
	if m.Phase == store.Starting {
		if err := killStrays(ctx, m.UUID); err != nil {
			return err
		}
	}
	return l.settle(ctx, &m)
}

// repairRunFolders removes the run folders of machines that have no record,
// and ends their QEMUs: as when the state was deleted while machines ran.
func (l *Launcher) repairRunFolders(ctx context.Context, machines []store.Machine) ([]Repair, error) {
	entries, err := os.ReadDir(l.Dirs.Run)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	known := make(map[string]bool)
	for _, m := range machines {
		known[m.Name] = true
	}
	var done []Repair
	var errs []error
	for _, e := range entries {
		if known[e.Name()] || configs.ValidName(e.Name()) != nil {
			continue
		}
		ok, err := l.repairRunFolder(ctx, e.Name())
		if err != nil {
			errs = append(errs, fmt.Errorf("repair run folder %q: %w", e.Name(), err))
		}
		if ok {
			done = append(done, Repair{e.Name(), "removed its run folder", "it has no record"})
		}
	}
	return done, errors.Join(errs...)
}

func (l *Launcher) repairRunFolder(ctx context.Context, name string) (done bool, err error) {
	uuid, err := os.ReadFile(l.folder(name).marker())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // not ours
	}
	if err != nil {
		return false, err
	}
	k, err := tryLock(l.lockPath("machine", name))
	if errors.Is(err, errLocked) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer k.release()
	if _, err := l.record(ctx, name); !errors.Is(err, fs.ErrNotExist) {
		return false, err // recorded meanwhile
	}
	if err := killStrays(ctx, string(uuid)); err != nil {
		return false, err
	}
	return true, l.folder(name).removeRun()
}

// sweepLocks removes the lock files of processes that were killed.
func (l *Launcher) sweepLocks() {
	entries, err := os.ReadDir(filepath.Join(l.Dirs.Run, ".locks"))
	if err != nil {
		return // none, or none of ours to remove
	}
	for _, e := range entries {
		if k, err := tryLock(filepath.Join(l.Dirs.Run, ".locks", e.Name())); err == nil {
			k.release()
		}
	}
}
