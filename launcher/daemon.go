package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/internal/proc"
)

// daemonMark is the variable by which the daemons of a machine are found: its
// value is the UUID of the machine's run, so it also finds one whose start nobody
// got to record, and no daemon of another run.
const daemonMark = "VMLAUNCH_DAEMON_OF"

// A daemon is a program that serves one run of a machine's QEMU: a folder, a
// network, a TPM. It begins before QEMU, ends with it, and holds nothing that
// outlives it.
type daemon struct {
	name  string // what it is, for errors and its log
	path  string // absolute path of the program
	args  []string
	files []*os.File // inherited as 3, 4 …; the caller closes its copies
	here  bool       // in vmlaunch's own network namespace, not in the machine's
}

// A started daemon is one that this process has started.
type started struct {
	name string
	pid  int
}

// startDaemon starts d, in a session of its own as QEMU is. It is ended when the
// attempt fails, and when the machine goes down. That it has come up shows on
// the socket it was given.
func (a *attempt) startDaemon(d daemon) error {
	log, err := os.OpenFile(a.files.daemonLog(d.name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("open log of %s of machine %q: %w", d.name, a.rec.Name, err)
	}
	defer log.Close()
	cmd := exec.Command(d.path, d.args...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), daemonMark+"="+a.rec.UUID)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = d.files
	cmd.SysProcAttr = a.group.into(&syscall.SysProcAttr{Setsid: true})
	a.l.Log.Debug("start daemon", "machine", a.rec.Name, "args", cmd.Args)
	a.back.Push("start of "+d.name, func(ctx context.Context) error { return endDaemons(ctx, a.rec.UUID) })
	start := cmd.Start
	if !d.here {
		start = func() error { return a.ns.Do(cmd.Start) }
	}
	if err := start(); err != nil {
		return fmt.Errorf("start %s of machine %q: %w", d.name, a.rec.Name, bare(err))
	}
	a.daemons = append(a.daemons, started{d.name, cmd.Process.Pid})
	return cmd.Process.Release() // reaped by whoever is its parent when we have ended
}

// failedDaemon returns why a start failed that had daemons, and what the first of
// them that failed had said; "" if none has. One that has ended well did so because
// QEMU was gone.
func (a *attempt) failedDaemon() (cause string, said []string) {
	for _, d := range a.daemons {
		status, ok := reap(d.pid)
		if !ok || status.Exited() && status.ExitStatus() == 0 {
			continue
		}
		cause = fmt.Sprintf("its %s failed, exit status %d", d.name, status.ExitStatus())
		if status.Signaled() {
			cause = fmt.Sprintf("its %s failed: %s", d.name, status.Signal())
		}
		return cause, tail(readTail(a.files.daemonLog(d.name)), 10)
	}
	return "", nil
}

// checkDaemons fails with a [*BootError] if a daemon has failed that its QEMU can do
// without: the guest would.
func (a *attempt) checkDaemons() error {
	cause, said := a.failedDaemon()
	if cause == "" {
		return nil
	}
	return &BootError{Name: a.rec.Name, Phase: "start", Exit: -1, Cause: cause, Tail: said}
}

// startDaemons starts what serves the machine's QEMU.
func (a *attempt) startDaemons(ctx context.Context) error {
	if err := a.makeGroup(ctx); err != nil {
		return err
	}
	if err := a.serveMounts(); err != nil {
		return err
	}
	if err := a.serveTPM(); err != nil {
		return err
	}
	if err := a.startPassts(); err != nil {
		return err
	}
	return a.startForwarder(ctx)
}

// hasDaemons reports whether a machine is one with daemons. It is a pure function.
func hasDaemons(spec configs.Machine) bool {
	return len(spec.Mounts)+len(spec.Ports) > 0 || spec.TPM || wants(spec, configs.NetPasst)
}

// endDaemonsOf ends the daemons, and removes the control group, of the run whose
// folder the machine called name has, of which there may be no record.
func (l *Launcher) endDaemonsOf(ctx context.Context, name string) error {
	uuid, err := os.ReadFile(l.folder(name).marker())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(endDaemons(ctx, string(uuid)), dropGroup(ctx, cgroupRoot, string(uuid)))
}

// endDaemons kills the daemons of one run of a machine and waits until they have
// ended; none is fine.
func endDaemons(ctx context.Context, uuid string) error {
	if uuid == "" {
		return nil
	}
	ids, err := proc.Marked(daemonMark + "=" + uuid)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		errs = append(errs, kill(ctx, id))
		reap(id.PID) // if it is ours
	}
	return errors.Join(errs...)
}
