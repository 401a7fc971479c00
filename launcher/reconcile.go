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

// A Repair is something that was put right, or would be.
type Repair struct {
	Machine string `json:"machine,omitempty"` // "" if it is about none
	What    string `json:"what"`              // is done, as "free cid 42"
	Why     string `json:"why"`
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

func (r remedy) String() string {
	switch r {
	case takeOff:
		return "remove what it had made"
	case setDown:
		return "set down"
	case setBack:
		return "let it run on"
	}
	return "leave"
}

// diagnose says what m needs. It is a pure function.
func diagnose(m store.Machine, f facts) (r remedy, why string) {
	switch {
	case f.atWork:
		return leave, ""
	case m.Phase == store.Starting && m.Started.IsZero():
		return takeOff, "its launch was broken off"
	case m.Phase == store.Removing:
		return takeOff, "its removal was broken off"
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
// command: launches, stops and removals that were broken off, QEMUs that have
// ended, a host that was restarted. What it can't repair it leaves, and says so in
// its error, together with what it did repair; so it does with a machine that
// runs without a record ([*UnrecordedError]). Machines that a verb is at work on
// are left alone. Without anything to repair it writes nothing, but once a boot.
// Then it also holds the pages of the file against each other, and fails with
// store.ErrCorrupt before anything is written into a damaged one.
func (l *Launcher) Reconcile(ctx context.Context) ([]Repair, error) {
	now, err := l.records(ctx)
	if err != nil {
		return nil, err
	}
	if now.stale { // a power cut may have come between: bbolt can run for ever in what that left
		if err := l.Store.Check(ctx); err != nil {
			return nil, err
		}
	}
	var done []Repair
	var errs []error
	add := func(r []Repair, err error) {
		done = append(done, r...)
		if err != nil {
			errs = append(errs, err)
		}
	}
	for _, m := range now.machines {
		if r, _ := diagnose(m, l.see(m, l.atWork(m.Name))); r != leave {
			add(l.repair(ctx, m.Name))
		}
	}
	add(l.repairRunFolders(ctx, now.machines))
	for _, n := range now.netnses {
		if n.Pending {
			add(l.repairNetns(ctx, n.Name))
		}
	}
	if now.stale {
		add(l.audit(ctx, now.boot))
	}
	l.sweepLocks()
	return done, errors.Join(errs...)
}

// records are what the state file says, and in which boot it is read.
type records struct {
	boot     string
	stale    bool // not looked at as a whole in this boot
	machines []store.Machine
	netnses  []store.Netns
}

// records reads the state file. Without one there is nothing to audit either.
func (l *Launcher) records(ctx context.Context) (r records, err error) {
	if r.boot, err = netns.BootID(); err != nil {
		return r, err
	}
	_, absent := os.Stat(l.Store.Path())
	err = l.Store.View(ctx, func(tx *store.Tx) error {
		last, err := tx.Boot()
		if err != nil {
			return err
		}
		r.stale = last != r.boot && absent == nil
		if r.machines, err = tx.Machines(); err != nil {
			return err
		}
		r.netnses, err = tx.Netnses()
		return err
	})
	return r, err
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
	switch r {
	case leave:
		return nil, nil
	case takeOff:
		err = l.takeOff(ctx, m)
	case setDown:
		err = l.setDown(ctx, m)
	case setBack:
		_, err = l.update(ctx, m, func(m *store.Machine) { m.Phase = store.Running })
	}
	if err != nil {
		return nil, fmt.Errorf("repair machine %q (%s): %w", name, why, err)
	}
	return []Repair{{name, r.String(), why}}, nil
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

// repairRunFolders removes the run folders of machines that have no record and
// no QEMU. It fails with an [*UnrecordedError] for those whose QEMU runs: the
// state was deleted, or one of another time was put back, while machines ran.
func (l *Launcher) repairRunFolders(ctx context.Context, machines []store.Machine) ([]Repair, error) {
	entries, err := os.ReadDir(l.Dirs.Run)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	known := make(map[string]string) // name → UUID
	for _, m := range machines {
		known[m.Name] = m.UUID
	}
	var done []Repair
	var errs []error
	for _, e := range entries {
		if configs.ValidName(e.Name()) != nil {
			continue
		}
		uuid, err := os.ReadFile(l.folder(e.Name()).marker())
		recorded, there := known[e.Name()]
		if errors.Is(err, fs.ErrNotExist) || err == nil && there && recorded == string(uuid) {
			continue // not a machine's, or as it should be
		}
		ok, err := l.repairRunFolder(ctx, e.Name())
		if err != nil {
			errs = append(errs, err)
		}
		if ok {
			done = append(done, Repair{e.Name(), "remove its run folder", "it has no record"})
		}
	}
	return done, errors.Join(errs...)
}

func (l *Launcher) repairRunFolder(ctx context.Context, name string) (done bool, err error) {
	k, err := tryLock(l.lockPath("machine", name))
	if errors.Is(err, errLocked) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer k.release()
	m, err := l.record(ctx, name) // it may be recorded meanwhile
	none := errors.Is(err, fs.ErrNotExist)
	if err != nil && !none {
		return false, err
	}
	if err := l.unrecorded(name, m.UUID); err != nil || !none {
		return false, err
	}
	if err := l.endDaemonsOf(ctx, name); err != nil {
		return false, fmt.Errorf("repair run folder %q: %w", name, err)
	}
	if err := l.folder(name).removeRun(); err != nil {
		return false, fmt.Errorf("repair run folder %q: %w", name, err)
	}
	return true, nil
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
