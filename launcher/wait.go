package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/store"
)

// A Condition is what [Launcher.Wait] waits for.
type Condition string

// The conditions.
const (
	ForRunning Condition = "running"
	ForReady   Condition = "ready"
	ForSSH     Condition = "ssh" // the way into the guest is open: SSH, or a probe's control port
	ForStopped Condition = "stopped"
)

// waitPoll is the time between two looks at a machine that another process is
// to change. There is nothing to listen to for that.
const waitPoll = 100 * time.Millisecond

// ParseCondition reads a condition. It fails on anything else.
func ParseCondition(s string) (Condition, error) {
	switch c := Condition(s); c {
	case ForRunning, ForReady, ForSSH, ForStopped:
		return c, nil
	}
	return "", fmt.Errorf("condition %q: want running, ready, ssh or stopped", s)
}

// Wait returns nil when the machine called name is as c says. It fails with
// [fs.ErrNotExist] if there is no such machine, with a [*PhaseError] if it is
// down and c needs it up, with a [*BootError] if it goes down meanwhile, and
// with ctx's error.
func (l *Launcher) Wait(ctx context.Context, name string, c Condition) error {
	var err error
	switch c {
	case ForStopped:
		err = l.waitDown(ctx, name)
	case ForRunning:
		_, err = l.waitUp(ctx, name)
	default:
		err = l.waitGuest(ctx, name, c)
	}
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return fmt.Errorf("wait for machine %q to be %s: %w", name, c, err)
	}
	return err
}

// waitDown returns when the machine is down, or gone altogether after it was
// there.
func (l *Launcher) waitDown(ctx context.Context, name string) error {
	seen := false
	for {
		v, err := l.Inspect(ctx, name)
		if seen && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || v.State.down() {
			return err
		}
		seen = true
		if v.QEMU.IsZero() {
			err = pause(ctx)
		} else {
			err = v.QEMU.Wait(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// waitUp returns the record once the machine runs.
func (l *Launcher) waitUp(ctx context.Context, name string) (store.Machine, error) {
	for {
		v, err := l.Inspect(ctx, name)
		if err != nil {
			return store.Machine{}, err
		}
		switch v.State {
		case Running:
			return v.Machine, nil
		case Starting, Unresponsive:
		default:
			return store.Machine{}, &PhaseError{Name: name, Have: v.State, Want: "running", Hint: "vmlaunch start " + name}
		}
		if err := pause(ctx); err != nil {
			return store.Machine{}, err
		}
	}
}

func (l *Launcher) waitGuest(ctx context.Context, name string, c Condition) error {
	m, err := l.waitUp(ctx, name)
	if err != nil || c == ForReady && !m.Ready.IsZero() {
		return err
	}
	until := func(ctx context.Context) error { return l.ask(ctx, m) }
	if c == ForReady {
		if ready, err := l.hear(m); err == nil {
			defer ready.Close()
			until = func(ctx context.Context) error { return l.hearOrAsk(ctx, m, ready) }
		}
	}
	if err := l.watchBoot(ctx, m, until); err != nil {
		return err
	}
	_, err = l.recordReady(ctx, m)
	return err
}

// hear listens for the readiness of a machine that is booting, where whoever
// started it did not wait. It fails if somebody else listens there.
func (l *Launcher) hear(m store.Machine) (*guest.Ready, error) {
	if m.NotifyPort == 0 {
		return nil, errors.New("its guest does not tell")
	}
	ns, err := enter(m)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	return guest.ListenReady(ns, m.CID, m.NotifyPort, nil)
}

// hearOrAsk returns at the first sign of readiness: the guest's word, or an
// answer from it, in case it has given its word before anybody listened.
func (l *Launcher) hearOrAsk(ctx context.Context, m store.Machine, ready *guest.Ready) error {
	ctx, cancel := context.WithCancel(ctx)
	said := make(chan error, 2)
	go func() { said <- ready.Wait(ctx) }()
	go func() { said <- l.ask(ctx, m) }()
	err := <-said
	cancel()
	<-said
	return err
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(waitPoll):
		return nil
	}
}
