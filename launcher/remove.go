package launcher

import (
	"context"
	"fmt"
	"time"

	"github.com/vmlaunch/vmlaunch/store"
)

// Remove removes the machine called name with all that is kept for it: files,
// logs, keys, its CID, and the namespace if it was made for it and no other
// machine is in it. It fails with [fs.ErrNotExist] if there is no such machine, with
// a [*PhaseError] if it is not down (with force it is killed instead), and if
// something can't be removed; then it can be tried again.
func (l *Launcher) Remove(ctx context.Context, name string, force bool) error {
	k, err := l.lockMachine(ctx, name)
	if err != nil {
		return err
	}
	defer k.release()
	m, err := l.record(ctx, name)
	if err != nil {
		return err
	}
	if v := l.look(ctx, m, false); !force && !v.QEMU.IsZero() {
		return &PhaseError{Name: name, Have: v.State, Want: "stopped", Hint: "vmlaunch stop " + name + ", or --force"}
	}
	if m, err = l.stop(ctx, m, 0); err != nil {
		return err
	}
	return l.remove(ctx, m)
}

// Down stops the machine called name, giving its guest grace, and removes it.
// It fails as [Launcher.Stop] and [Launcher.Remove] do.
func (l *Launcher) Down(ctx context.Context, name string, grace time.Duration) error {
	k, err := l.lockMachine(ctx, name)
	if err != nil {
		return err
	}
	defer k.release()
	m, err := l.record(ctx, name)
	if err != nil {
		return err
	}
	if m, err = l.stop(ctx, m, grace); err != nil {
		return err
	}
	return l.remove(ctx, m)
}

// remove removes all that is kept for a machine that is down; the caller holds
// its lock. That it is to go is recorded first, and the record goes last:
// whatever breaks this off, the next command finishes it.
func (l *Launcher) remove(ctx context.Context, m store.Machine) error {
	ctx = context.WithoutCancel(ctx)
	l.progress(m.Name, "removing", "")
	f := l.folder(m.Name)
	for _, s := range []struct {
		name string
		do   func() error
	}{
		{"rm:record", func() error { return l.recordRemoving(ctx, m) }},
		{"rm:run", f.removeRun},
		{"rm:state", f.removeState},
		{"rm:forget", func() error { return l.forget(ctx, m) }},
	} {
		l.step(s.name)
		if err := s.do(); err != nil {
			return fmt.Errorf("remove machine %q: %w", m.Name, err)
		}
	}
	l.step("rm:done")
	return nil
}

// recordRemoving records that m is to go.
func (l *Launcher) recordRemoving(ctx context.Context, m store.Machine) error {
	_, err := l.update(ctx, m, func(m *store.Machine) { m.Phase = store.Removing })
	return err
}
