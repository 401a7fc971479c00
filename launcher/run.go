package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/store"
)

// runGrace is what a machine in the foreground gets to power off when whoever
// watches it has had enough. A service manager waits longer (systemd: 90 s).
const runGrace = 30 * time.Second

// Run launches the machine that spec describes, waits until it ends, removes it, or
// with [Keeping] leaves it down, and returns QEMU's exit status; 128 and more say that QEMU died of a signal.
// Attach is called once the machine runs, and when it returns the machine is
// stopped, as it is when ctx ends; it may watch the console until that ends.
//
// Run fails as [Launcher.Launch] does, with attach's error, and with ctx's; the
// machine is removed or down in any case. With [Keeping] a machine that is there is
// started, one that runs (whoever ran it was killed) is stopped first, and Run
// fails with a [*SpecError] if it differs from spec.
func (l *Launcher) Run(ctx context.Context, spec configs.Machine, attach func(context.Context, store.Machine) error, opts ...Option) (exit int, err error) {
	keep := gather(opts).keep
	launch := l.Launch
	if keep {
		launch = l.launchKept
	}
	m, err := launch(ctx, spec, Detached())
	if err != nil {
		return 0, err
	}
	err = l.attend(ctx, m, attach)
	// Whatever it was, the machine goes; its guest is asked first.
	clean := context.WithoutCancel(ctx)
	if m.QEMU.Alive() {
		err = errors.Join(err, l.askOff(clean, m, runGrace))
	}
	if m.QEMU.Alive() && l.quit(clean, m) != nil {
		err = errors.Join(err, kill(clean, m.QEMU))
	}
	exit = exitStatus(m.QEMU.PID)
	down := l.Down
	if keep {
		down = l.Stop
	}
	downErr := down(clean, m.Name, 0)
	if errors.Is(downErr, fs.ErrNotExist) {
		downErr = nil // somebody was quicker
	}
	return exit, errors.Join(err, downErr)
}

// launchKept launches a machine, or starts the one that there is.
func (l *Launcher) launchKept(ctx context.Context, spec configs.Machine, opts ...Option) (store.Machine, error) {
	m, err := l.record(ctx, spec.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return l.Launch(ctx, spec, opts...)
	}
	if err != nil {
		return store.Machine{}, err
	}
	if d := differences(m, spec); len(d) > 0 {
		return store.Machine{}, &SpecError{Name: m.Name, Fields: d}
	}
	if err := l.Stop(ctx, m.Name, runGrace); err != nil {
		return store.Machine{}, err
	}
	return l.Start(ctx, m.Name, opts...)
}

// attend calls attach and returns when it does or when QEMU has ended; the
// other one is waited for then.
func (l *Launcher) attend(ctx context.Context, m store.Machine, attach func(context.Context, store.Machine) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	attached := make(chan error, 1)
	gone := make(chan error, 1)
	go func() { attached <- attach(ctx, m) }()
	go func() { gone <- m.QEMU.Wait(ctx) }()
	select {
	case err := <-attached:
		cancel()
		<-gone
		return err
	case err := <-gone:
		// The console ends with QEMU; attach has the rest of it to print.
		if err != nil {
			cancel()
		}
		aerr := <-attached
		if err != nil {
			return fmt.Errorf("run machine %q: %w", m.Name, err)
		}
		return aerr
	}
}

// exitStatus returns the exit status of a child of this process that has ended,
// as a shell would: 128 plus the signal that it died of.
func exitStatus(pid int) int {
	status, ok := reap(pid)
	switch {
	case !ok:
		return 0
	case status.Signaled():
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}
