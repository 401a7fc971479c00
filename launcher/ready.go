package launcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/qmp"
	"github.com/vmlaunch/vmlaunch/store"
)

// consoleTick is how often the console's log is looked at for its last line
// while a guest boots. It is for people to read.
const consoleTick = 250 * time.Millisecond

// awaitReady waits until the guest of m has said on ready that it is, or lets us in,
// as its spec says, and records it. The machine stays whatever happens. It fails with a [*BootError]
// if QEMU ends first, with a [*ReadyError] after the machine's own time limit,
// and with ctx's error.
func (l *Launcher) awaitReady(ctx context.Context, m store.Machine, ready *guest.Ready) (store.Machine, error) {
	limit := time.Duration(m.Spec.ReadyTimeout)
	begin := time.Now()
	bound, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	until := ready.Wait
	if m.Spec.Ready == configs.ReadySSH {
		until = func(ctx context.Context) error { return l.ask(ctx, m) }
	}
	err := l.watchBoot(bound, m, until)
	switch {
	case err == nil:
		l.progress(m.Name, "ready", "")
		return l.recordReady(ctx, m)
	case ctx.Err() != nil:
		return m, fmt.Errorf("wait for machine %q: %w", m.Name, context.Cause(ctx))
	case bound.Err() != nil:
		return m, &ReadyError{Name: m.Name, Waited: time.Since(begin), Missing: l.missing(m, ready.Told().Status), Cause: bound.Err()}
	}
	return m, err
}

// watchBoot runs until, which waits for something of m's guest, and returns its
// error. It fails with a [*BootError] as soon as QEMU ends. Meanwhile the last
// line of the console is reported.
func (l *Launcher) watchBoot(ctx context.Context, m store.Machine, until func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	said := make(chan error, 1)
	gone := make(chan error, 1)
	go func() { said <- until(ctx) }()
	go func() { gone <- m.QEMU.Wait(ctx) }()
	waiting := 2
	defer func() { // both end with the context
		cancel()
		for ; waiting > 0; waiting-- {
			select {
			case <-said:
			case <-gone:
			}
		}
	}()
	tick := time.NewTicker(consoleTick)
	defer tick.Stop()
	shown := ""
	l.progress(m.Name, "boot", "")
	for {
		select {
		case err := <-said:
			waiting--
			return err
		case err := <-gone:
			waiting--
			if err != nil {
				return err
			}
			return l.bootFailed(m)
		case <-tick.C:
			if s := l.lastLine(m.Name); s != shown {
				shown = s
				l.progress(m.Name, "boot", s)
			}
		}
	}
}

// bootFailed returns the error for a guest whose QEMU ended before it was
// ready.
func (l *Launcher) bootFailed(m store.Machine) error {
	f := l.folder(m.Name)
	e := &BootError{Name: m.Name, Phase: "boot", Exit: -1, Cause: readEnding(readTail(f.qemuLog())).cause}
	if status, ok := reap(m.QEMU.PID); ok {
		e.Exit = status.ExitStatus()
	}
	if e.Cause == "" {
		e.Cause = "QEMU ended without a word: it was killed, or it crashed"
	}
	e.Log, e.Tail = f.consoleLog(), bootTail(readTail(f.consoleLog()), 10)
	if len(e.Tail) == 0 {
		e.Log, e.Tail = f.qemuLog(), tail(readTail(f.qemuLog()), 10)
	}
	return e
}

// missing says what had not come when time was up, from what was seen last.
func (l *Launcher) missing(m store.Machine, status string) string {
	who, way := "its agent", ""
	if m.Spec.Guest() == configs.GuestDisk {
		who, way = "its system", "; a system that does not tell wants --ready ssh or none"
	}
	switch last := l.lastLine(m.Name); {
	case status != "":
		return fmt.Sprintf("%s said %q last", who, status)
	case last != "":
		return fmt.Sprintf("%s said nothing; the console's last line is %q%s", who, last, way)
	case m.Spec.Guest() == configs.GuestProbe:
		return "it said nothing"
	}
	return who + " said nothing, nor did its kernel" + way
}

func (l *Launcher) lastLine(name string) string {
	if lines := tail(readTail(l.folder(name).consoleLog()), 1); len(lines) > 0 {
		return lines[0]
	}
	return ""
}

// recordReady records that the guest is ready. From now on a guest that
// restarts does restart: see [Plan.RebootEnds].
func (l *Launcher) recordReady(ctx context.Context, m store.Machine) (store.Machine, error) {
	if err := l.allowReboot(ctx, m); err != nil {
		l.Log.Warn("guest restarts will end QEMU", "machine", m.Name, "err", err)
	}
	return l.update(ctx, m, func(m *store.Machine) {
		if m.Ready.IsZero() {
			m.Ready = time.Now()
		}
	})
}

func (l *Launcher) allowReboot(ctx context.Context, m store.Machine) error {
	if m.Spec.Guest() != configs.GuestLinux {
		return nil // was allowed from the start
	}
	ctx, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	c, err := qmp.Dial(ctx, l.folder(m.Name).qmp())
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Execute(ctx, "set-action", map[string]string{"reboot": "reset"}, nil)
}

// askWait is how long one question "are you ready" may take, askPause the time
// to the next one. A guest that is booting refuses within milliseconds.
const (
	askWait  = 10 * time.Second
	askPause = 250 * time.Millisecond
)

// ask asks the guest of m whether it is ready, until it is or ctx ends, by the
// way that users have into it. It is for who has missed the guest's own word.
func (l *Launcher) ask(ctx context.Context, m store.Machine) error {
	for {
		err := l.knock(ctx, m)
		if err == nil {
			return nil
		}
		if errors.Is(err, guest.ErrIdentity) || errors.Is(err, errors.ErrUnsupported) {
			return l.connectError(ctx, m, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (last: %w)", context.Cause(ctx), err)
		case <-time.After(askPause):
		}
	}
}

func (l *Launcher) knock(ctx context.Context, m store.Machine) error {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	if m.Spec.Guest() == configs.GuestProbe {
		p, err := l.dialProbe(ctx, m)
		if err != nil {
			return err
		}
		return p.Close()
	}
	c, err := l.dialClient(ctx, m)
	if err != nil {
		return err
	}
	return c.Close()
}
