package launcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vmlaunch/vmlaunch/qmp"
	"github.com/vmlaunch/vmlaunch/store"
)

const (
	// monitorWait bounds QEMU's way from its start to its first answers: 0.1 s,
	// or 0.5 s emulated; a hundred at once on two emulated cores need 50 s.
	monitorWait = 2 * time.Minute
	// lookWait bounds a question about the state of a running QEMU, which
	// answers in less than a millisecond, or a few emulated. Who takes longer is
	// called unresponsive. The margin is for hosts with a load of 20.
	lookWait = 3 * time.Second
	// exitWait bounds the wait for a QEMU whose monitor is gone to be gone too.
	exitWait = 5 * time.Second
)

// oldestMajor.oldestMinor is the first QEMU with the JSON form of -device.
const oldestMajor, oldestMinor = 6, 2

// cont is the first conversation with a new QEMU: is it one that we know, does
// it stand before its first instruction, then let it run.
func (a *attempt) cont(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, monitorWait)
	defer cancel()
	err := a.converse(ctx)
	if err == nil || !errors.Is(err, qmp.ErrGone) {
		return err
	}
	// The monitor is gone. If QEMU is too, its log says why.
	gone, cancelGone := context.WithTimeout(ctx, exitWait)
	defer cancelGone()
	if a.rec.QEMU.Wait(gone) == nil {
		return a.startFailed("QEMU ended")
	}
	return err
}

func (a *attempt) converse(ctx context.Context) error {
	c, err := qmp.Dial(ctx, a.files.qmp())
	if err != nil {
		return fmt.Errorf("talk to QEMU of machine %q: %w", a.rec.Name, err)
	}
	defer c.Close()
	if v := c.Greeting().Version.QEMU; v.Major < oldestMajor || v.Major == oldestMajor && v.Minor < oldestMinor {
		return &MissingError{
			What: fmt.Sprintf("QEMU %d.%d or later (%s is %d.%d)", oldestMajor, oldestMinor, a.host.qemu, v.Major, v.Minor),
			Need: "run machines", Hint: "name another one: --qemu PATH",
		}
	}
	s, err := c.Status(ctx)
	if err != nil {
		return fmt.Errorf("talk to QEMU of machine %q: %w", a.rec.Name, err)
	}
	if s.Status != "prelaunch" {
		return fmt.Errorf("talk to QEMU of machine %q: run state is %q, want prelaunch", a.rec.Name, s.Status)
	}
	if err := c.Cont(ctx); err != nil {
		return fmt.Errorf("let machine %q run: %w", a.rec.Name, err)
	}
	return nil
}

// QMP opens the monitor of the machine called name. The caller closes the
// client, soon: QEMU serves one at a time. It fails with [fs.ErrNotExist] if
// there is no such machine, with a [*PhaseError] if it has no QEMU, and as
// qmp.Dial does.
func (l *Launcher) QMP(ctx context.Context, name string) (*qmp.Client, error) {
	m, err := l.running(ctx, name)
	if err != nil {
		return nil, err
	}
	c, err := qmp.Dial(ctx, l.folder(name).qmp())
	if err != nil {
		return nil, fmt.Errorf("talk to QEMU of machine %q: %w", m.Name, err)
	}
	return c, nil
}

// running returns the record of a machine whose QEMU is there. It fails with
// [fs.ErrNotExist] and with [*PhaseError].
func (l *Launcher) running(ctx context.Context, name string) (store.Machine, error) {
	m, err := l.record(ctx, name)
	if err != nil {
		return store.Machine{}, err
	}
	if !m.QEMU.Alive() {
		v := l.look(ctx, m, l.atWork(name))
		return store.Machine{}, &PhaseError{Name: name, Have: v.State, Want: "running", Hint: "vmlaunch start " + name}
	}
	return m, nil
}

// Pause stops the machine's processors; its CID stays claimed. Pausing a paused
// machine is fine. It fails with [fs.ErrNotExist], with a [*PhaseError], and if
// QEMU refuses.
func (l *Launcher) Pause(ctx context.Context, name string) error {
	return l.command(ctx, name, "pause", (*qmp.Client).Stop)
}

// Resume lets a paused machine go on. It fails as [Launcher.Pause] does.
func (l *Launcher) Resume(ctx context.Context, name string) error {
	return l.command(ctx, name, "resume", (*qmp.Client).Cont)
}

func (l *Launcher) command(ctx context.Context, name, verb string, do func(*qmp.Client, context.Context) error) error {
	k, err := l.lockMachine(ctx, name)
	if err != nil {
		return err
	}
	defer k.release()
	c, err := l.QMP(ctx, name)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := do(c, ctx); err != nil {
		return fmt.Errorf("%s machine %q: %w", verb, name, err)
	}
	return nil
}
