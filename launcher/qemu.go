package launcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/internal/agentconfig"
	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/qmp"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// killWait bounds the wait for a QEMU that got SIGKILL. It goes in
// milliseconds, unless the kernel holds it in a system call.
const killWait = 10 * time.Second

// listen opens the readiness listener inside the namespace, before there is a
// guest that could report. The kernel chooses the port: all global namespaces
// share one port space. A guest that finds nobody there tries again, so Wait can
// listen on the same port later.
func (a *attempt) listen(context.Context) error {
	ready, err := guest.ListenReady(a.ns, a.rec.CID, 0, func(status string) {
		a.l.progress(a.rec.Name, "boot", line([]byte(status)))
	})
	if err != nil {
		return fmt.Errorf("listen for machine %q: %w", a.rec.Name, err)
	}
	a.ready = ready // closed by close
	a.rec.NotifyPort = ready.Port()
	return nil
}

// makeFiles makes the machine's folders and what goes into them.
func (a *attempt) makeFiles(ctx context.Context) error {
	made, err := a.files.makeState()
	if err != nil {
		return fmt.Errorf("make files of machine %q: %w", a.rec.Name, err)
	}
	if made {
		a.back.Push("state folder", func(context.Context) error { return a.files.removeState() })
	}
	a.back.Push("run folder", func(context.Context) error { return a.files.removeRun() })
	if err := a.files.makeRun(a.rec.UUID); err != nil {
		return fmt.Errorf("make files of machine %q: %w", a.rec.Name, err)
	}
	if err := a.files.rotate(); err != nil {
		return fmt.Errorf("make files of machine %q: %w", a.rec.Name, err)
	}
	if err := a.l.keepCard(card(a.rec)); err != nil {
		return err
	}
	if err := a.makeDisk(ctx); err != nil {
		return fmt.Errorf("make disks of machine %q: %w", a.rec.Name, err)
	}
	if err := a.files.writeFirstBoot(a.rec, a.host.first); err != nil {
		return err
	}
	if a.rec.Spec.Guest() == configs.GuestLinux {
		return a.makeInitrd()
	}
	return nil
}

// makeInitrd writes the initramfs with what only this machine's agent knows.
func (a *attempt) makeInitrd() error {
	keys, err := a.files.keys()
	if err != nil {
		return fmt.Errorf("make keys of machine %q: %w", a.rec.Name, err)
	}
	cfg := agentconfig.Config{
		Role:           agentconfig.Guest,
		Hostname:       cmp.Or(a.rec.Spec.Service, a.rec.Name), // every copy of a lab has the same
		Listen:         []string{fmt.Sprintf("vsock:%d", agentconfig.SSHPort)},
		HostKey:        string(keys.Host),
		AuthorizedKeys: letIn(a.rec.Spec, keys),
		EchoPort:       agentconfig.EchoPort,
		ForwardPort:    agentconfig.ForwardPort,
		Modules:        a.host.boot.Modules,
		Mounts:         guestMounts(a.host.mounts.shares),
		Networks:       guestNetworks(a.rec.NICs),
	}
	if a.rec.NotifyPort != 0 {
		cfg.Notify = fmt.Sprintf("vsock-stream:%d:%d", vsock.Host, a.rec.NotifyPort)
	}
	f, err := os.OpenFile(a.files.initrd(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write initramfs of machine %q: %w", a.rec.Name, err)
	}
	err = a.l.Cache.MachineInitrd(f, a.host.boot.Initrd, cfg)
	return errors.Join(err, f.Close())
}

// startQEMU starts QEMU inside the namespace: so the namespace can be reached
// through it for as long as it lives, whatever becomes of the name. It is in a
// session of its own and outlives us; it has no Pdeathsig, which is tied to a
// thread.
func (a *attempt) startQEMU(context.Context) error {
	socket, err := qmp.Listen(a.files.qmp())
	if err != nil {
		return fmt.Errorf("make monitor socket of machine %q: %w", a.rec.Name, err)
	}
	a.socket = socket
	// Not truncated: rotate has moved the old one away.
	log, err := os.OpenFile(a.files.qemuLog(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open log of machine %q: %w", a.rec.Name, err)
	}
	defer log.Close()
	p := plan(a.rec, a.host, a.files, !a.detached)
	who, err := a.account()
	if err != nil {
		return fmt.Errorf("start QEMU of machine %q: %w", a.rec.Name, err)
	}
	if err := a.handOver(&p, who); err != nil {
		return err
	}
	cmd := exec.Command(p.QEMU, Args(p)...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log // Stdin is /dev/null
	cmd.ExtraFiles = append([]*os.File{fdQMP - 3: socket, fdVhost - 3: a.claim.File()}, a.passed...)
	cmd.SysProcAttr = a.group.into(&syscall.SysProcAttr{Setsid: true, Credential: who.credential()})
	if who.foreign() {
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"} // ours is none of its business
	}
	a.l.Log.Debug("start QEMU", "machine", a.rec.Name, "args", cmd.Args, "uid", who.uid)
	if err := a.ns.Do(cmd.Start); err != nil {
		return startError(a.rec.Name, p.QEMU, who, err)
	}
	pid := cmd.Process.Pid
	a.back.Push("start of qemu", func(ctx context.Context) error { return endChild(ctx, cmd) })
	a.rec.QEMU, err = proc.Identify(pid)
	if errors.Is(err, proc.ErrGone) {
		return a.startFailed("QEMU ended at once")
	}
	if err != nil {
		return fmt.Errorf("identify QEMU of machine %q: %w", a.rec.Name, err)
	}
	// With our copies closed, a dial to a QEMU that is gone fails at once, and a
	// daemon sees its QEMU end.
	a.closePassed()
	a.socket = nil
	return socket.Close()
}

// startError tells why the kernel did not start QEMU.
func startError(name, qemu string, who account, err error) error {
	if who.foreign() && errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("start QEMU of machine %q: %s as uid %d: %w (it must be for everybody, and so the folders above it; or --run-as root)", name, qemu, who.uid, bare(err))
	}
	return fmt.Errorf("start QEMU of machine %q: %w", name, err)
}

// endChild kills a QEMU that this process started, and reaps it. It goes by the
// handle that os.Process has on its child, not by pid.
func endChild(ctx context.Context, cmd *exec.Cmd) error {
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill QEMU: %w", err)
	}
	done := make(chan struct{})
	go func() { // ends with the process, which has been killed
		defer close(done)
		_ = cmd.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for killed QEMU (pid %d): %w", cmd.Process.Pid, ctx.Err())
	}
}

// recordQEMU records which process is the machine's.
func (a *attempt) recordQEMU(ctx context.Context) error {
	m, err := a.l.update(ctx, a.rec, func(m *store.Machine) { m.QEMU = a.rec.QEMU })
	if err != nil {
		return err
	}
	a.rec = m
	return nil
}

// startFailed returns the error for a QEMU that ended before its guest ran.
func (a *attempt) startFailed(cause string) error {
	e := &BootError{Name: a.rec.Name, Phase: "start", Exit: -1, Cause: cause, Tail: tail(readTail(a.files.qemuLog()), 10)}
	if status, ok := reap(a.rec.QEMU.PID); ok {
		e.Exit = status.ExitStatus()
	}
	if cause, said := a.failedDaemon(); cause != "" {
		e.Cause, e.Tail = cause+", and "+e.Cause, append(said, e.Tail...)
	}
	if !a.fresh {
		e.Log = a.files.qemuLog()
	}
	return e
}

// reap collects the exit status of pid if it is a child of this process that
// has ended. Only the process that started a QEMU can; for others init does.
func reap(pid int) (syscall.WaitStatus, bool) {
	var status syscall.WaitStatus
	if pid <= 0 { // would be any child
		return status, false
	}
	for {
		got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
		if err != syscall.EINTR {
			return status, err == nil && got == pid
		}
	}
}

// kill ends the process and waits until it has; it does not reap. A process that
// is gone is fine.
func kill(ctx context.Context, id proc.ID) error {
	if err := id.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, proc.ErrGone) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, killWait)
	defer cancel()
	if err := id.Wait(ctx); err != nil {
		return fmt.Errorf("wait for the end of killed process %d: %w", id.PID, err)
	}
	return nil
}
