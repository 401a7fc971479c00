package launcher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/internal/agentconfig"
	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/qmp"
	"github.com/vmlaunch/vmlaunch/store"
)

// quitWait bounds what a QEMU needs to end when it is told to: 0.3 s at worst
// were seen, emulated. Who takes longer is killed.
const quitWait = 5 * time.Second

// Stop takes the machine called name down: its guest is asked to power off and
// has grace for it; then QEMU is told to quit, then killed. When Stop returns nil
// QEMU is gone and the kernel has let go of the CID, which stays the machine's
// in the ledger. Stopping a machine that is down is fine.
//
// It fails with [fs.ErrNotExist] if there is no such machine, and if QEMU can't be
// ended. When ctx ends during the grace the machine runs on.
func (l *Launcher) Stop(ctx context.Context, name string, grace time.Duration) error {
	k, err := l.lockMachine(ctx, name)
	if err != nil {
		return err
	}
	defer k.release()
	m, err := l.record(ctx, name)
	if err != nil {
		return err
	}
	_, err = l.stop(ctx, m, grace)
	return err
}

// Kill takes the machine called name down without asking its guest. It does
// not wait for another verb before it kills, so it also ends a stop that waits
// for the guest. It fails as [Launcher.Stop] does.
func (l *Launcher) Kill(ctx context.Context, name string) error {
	m, err := l.record(ctx, name)
	if err != nil {
		return err
	}
	if m.QEMU.Alive() {
		if m, err = l.recordStopping(ctx, m); err != nil {
			return err
		}
	}
	l.step("kill:qemu")
	if err := kill(ctx, m.QEMU); err != nil {
		return fmt.Errorf("kill machine %q: %w", name, err)
	}
	return l.Stop(ctx, name, 0)
}

// recordStopping records that the end of m's QEMU is wanted.
func (l *Launcher) recordStopping(ctx context.Context, m store.Machine) (store.Machine, error) {
	l.step("stop:record")
	return l.update(ctx, m, func(m *store.Machine) {
		m.Phase = store.Stopping
		m.Launcher, _ = proc.Self() // for people to see
	})
}

// stop is Stop on a machine whose lock the caller holds. It returns the record
// as it is afterwards.
func (l *Launcher) stop(ctx context.Context, m store.Machine, grace time.Duration) (store.Machine, error) {
	if m.QEMU.Alive() {
		m, err := l.recordStopping(ctx, m)
		if err != nil {
			return m, err
		}
		l.step("stop:ask")
		l.progress(m.Name, "stopping", "")
		if err := l.askOff(ctx, m, grace); err != nil {
			back, uerr := l.update(context.WithoutCancel(ctx), m, func(m *store.Machine) { m.Phase, m.Launcher = store.Running, proc.ID{} })
			return back, errors.Join(fmt.Errorf("stop machine %q: %w", m.Name, err), uerr)
		}
	}
	// From here on there is no way back, and no reason to stop half way.
	ctx = context.WithoutCancel(ctx)
	err := l.settle(ctx, &m)
	return m, err
}

// askOff asks the guest to power off and waits for grace at most. It fails
// only if ctx ends meanwhile: a guest that does not obey is dealt with by the
// caller.
func (l *Launcher) askOff(ctx context.Context, m store.Machine, grace time.Duration) error {
	if grace <= 0 {
		return ctx.Err()
	}
	patience, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if err := l.pressOff(patience, m); err != nil {
		l.Log.Info("guest can't be asked to power off", "machine", m.Name, "err", err)
		return ctx.Err()
	}
	_ = m.QEMU.Wait(patience)
	return ctx.Err()
}

// pressOff tells the guest to power off, in the way it understands.
func (l *Launcher) pressOff(ctx context.Context, m store.Machine) error {
	if m.Spec.Guest() != configs.GuestLinux { // by its power button
		c, err := qmp.Dial(ctx, l.folder(m.Name).qmp())
		if err != nil {
			return err
		}
		defer c.Close()
		return c.Powerdown(ctx)
	}
	c, err := l.dialClient(ctx, m)
	if err != nil {
		return err
	}
	defer c.Close()
	exit, err := c.Run(ctx, guest.Command{Args: strings.Fields(agentconfig.CommandPowerOff)})
	switch {
	case errors.Is(err, guest.ErrGone):
		return nil // it was quicker than its answer
	case err == nil && exit != 0:
		return fmt.Errorf("%s: exit status %d", agentconfig.CommandPowerOff, exit)
	}
	return err
}

// settle makes sure that m's QEMU is gone and that nothing is left of it but
// its record, its logs and its place in the ledger, and records that. The
// caller holds the machine's lock. Settling what is settled is fine. It fails
// with an [*UnrecordedError] if the machine runs under another record.
func (l *Launcher) settle(ctx context.Context, m *store.Machine) error {
	if err := l.unrecorded(m.Name, m.UUID); err != nil {
		return err
	}
	ns, nsErr := enter(*m) // by its QEMU, as long as there is one
	if nsErr == nil {
		defer ns.Close()
	}
	phase, cause := store.Stopped, ""
	if now, err := l.record(ctx, m.Name); err == nil && !now.QEMU.Alive() {
		phase, cause = l.epitaph(now)
	}
	l.step("stop:quit")
	if err := l.end(ctx, *m); err != nil {
		return fmt.Errorf("stop machine %q: %w", m.Name, err)
	}
	l.step("stop:daemons")
	if hasDaemons(m.Spec) {
		if err := endDaemons(ctx, m.UUID); err != nil {
			return fmt.Errorf("stop machine %q: %w", m.Name, err)
		}
		removeSockets(m.Spec)
	}
	if m.Spec.Limits != (configs.Limits{}) {
		if err := dropGroup(ctx, cgroupRoot, m.UUID); err != nil {
			return fmt.Errorf("stop machine %q: %w", m.Name, err)
		}
	}
	l.step("stop:cid")
	if nsErr == nil {
		if err := l.settleCID(ctx, ns, *m); err != nil {
			return err
		}
	}
	l.step("stop:files")
	if err := l.folder(m.Name).removeRun(); err != nil {
		return fmt.Errorf("stop machine %q: %w", m.Name, err)
	}
	l.step("stop:down")
	now, err := l.update(ctx, *m, func(m *store.Machine) {
		if m.Phase == store.Stopped || m.Phase == store.Failed || m.Phase == store.Removing {
			return
		}
		m.Phase, m.Cause = phase, cause
		m.QEMU, m.Launcher, m.NotifyPort = proc.ID{}, proc.ID{}, 0
		m.Ready, m.Stopped = time.Time{}, time.Now()
	})
	if err == nil {
		*m = now
	}
	l.step("stop:done")
	return err
}

// epitaph returns what is to be recorded of a machine whose QEMU has ended.
func (l *Launcher) epitaph(m store.Machine) (store.Phase, string) {
	if m.Phase == store.Starting { // its guest has not run
		return store.Stopped, "its start was broken off"
	}
	s, cause := decide(m, l.see(m, false))
	if s == Failed {
		return store.Failed, cause
	}
	return store.Stopped, cause
}

// end ends m's QEMU: by its monitor, then by SIGKILL. None is fine.
func (l *Launcher) end(ctx context.Context, m store.Machine) error {
	defer reap(m.QEMU.PID)
	if !m.QEMU.Alive() {
		return nil
	}
	err := l.quit(ctx, m)
	if err != nil {
		l.Log.Info("QEMU does not quit, kill it", "machine", m.Name, "err", err)
		err = kill(ctx, m.QEMU)
	}
	return err
}

// quit tells QEMU to end, and waits until it has.
func (l *Launcher) quit(ctx context.Context, m store.Machine) error {
	ctx, cancel := context.WithTimeout(ctx, quitWait)
	defer cancel()
	// Who is gone from the monitor may be on its way out already.
	if err := l.tellQuit(ctx, m); err != nil && !errors.Is(err, qmp.ErrGone) {
		return err
	}
	return m.QEMU.Wait(ctx)
}

func (l *Launcher) tellQuit(ctx context.Context, m store.Machine) error {
	c, err := qmp.Dial(ctx, l.folder(m.Name).qmp())
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Quit(ctx)
}

// settleCID waits until the kernel has let go of the CID. That somebody else
// took it is not our machine's failure.
func (l *Launcher) settleCID(ctx context.Context, ns *netns.NS, m store.Machine) error {
	if m.CID == 0 || l.cids.check() != nil {
		return nil
	}
	if err := l.awaitFree(ctx, ns, m); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	} else if err != nil {
		l.Log.Warn("somebody has taken the machine's CID", "machine", m.Name, "cid", m.CID)
	}
	return nil
}
