package nest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/qmp"
)

// The descriptor under which QEMU finds its listening monitor socket: the first
// after the standard ones.
const monitorFD = 3

// start starts QEMU in a session of its own, so that it outlives this process
// and its terminal; its output goes to the file log, and it inherits files from
// [monitorFD] on. The process is the caller's to end.
func start(p plan, log string, files ...*os.File) (proc.ID, error) {
	out, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return proc.ID{}, err
	}
	defer out.Close()
	args := p.args()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.ExtraFiles = files
	cmd.Dir = "/"
	// No Pdeathsig: it would come when the thread ends, not the process.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return proc.ID{}, fmt.Errorf("start qemu: %w", err)
	}
	id, err := proc.Identify(cmd.Process.Pid)
	if err != nil {
		_ = cmd.Wait() // it has ended: the error below tells that
		return proc.ID{}, fmt.Errorf("start qemu: %w", err)
	}
	return id, nil
}

// quitGrace is how long QEMU may take to leave after it was asked to. It has
// nothing to save; under load it was seen to take a few hundred milliseconds.
const quitGrace = 5 * time.Second

// stop ends QEMU: asked by the monitor, and killed if it doesn't leave. It
// returns when the process has ended. A process that has ended is fine.
func stop(ctx context.Context, id proc.ID, monitor string) error {
	if !id.Alive() {
		return reap(id)
	}
	polite, cancel := context.WithTimeout(ctx, quitGrace)
	defer cancel()
	if askToQuit(polite, monitor) != nil || id.Wait(polite) != nil {
		// A QEMU that doesn't listen has no say: whatever was wrong, the kill
		// and the wait below tell if it is still there.
		if err := id.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, proc.ErrGone) {
			return err
		}
	}
	if err := id.Wait(ctx); err != nil {
		return err
	}
	return reap(id)
}

func askToQuit(ctx context.Context, monitor string) error {
	m, err := qmp.Dial(ctx, monitor)
	if err != nil {
		return err
	}
	defer m.Close()
	return m.Quit(ctx)
}

// reap takes the zombie away if the process was started by this one.
func reap(id proc.ID) error {
	if id.PID <= 0 {
		return nil
	}
	_, err := syscall.Wait4(id.PID, nil, syscall.WNOHANG, nil)
	if err != nil && !errors.Is(err, syscall.ECHILD) {
		return fmt.Errorf("reap %v: %w", id, err)
	}
	return nil
}

// strays returns the QEMUs that were started on the initramfs in dir. An Up that
// is killed between the start and the record leaves one.
func strays(dir string) ([]proc.ID, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []proc.ID
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		id, err := proc.Identify(pid)
		if err != nil {
			continue // gone meanwhile
		}
		args, err := proc.Cmdline(pid)
		if err == nil && startedOn(args, filepath.Join(dir, initrdFile)) && id.Alive() {
			found = append(found, id)
		}
	}
	return found, nil
}

// startedOn reports whether the argument vector is one of ours with this
// initramfs.
func startedOn(args []string, initrd string) bool {
	i := slices.Index(args, "-initrd")
	return i >= 0 && i+1 < len(args) && args[i+1] == initrd
}

// clear ends what runs on dir and removes it.
func clear(ctx context.Context, dir string, r record) error {
	monitor := filepath.Join(dir, monitorFile)
	ids, err := strays(dir)
	if err != nil {
		return err
	}
	if !r.QEMU.IsZero() && !slices.Contains(ids, r.QEMU) {
		ids = append(ids, r.QEMU)
	}
	for _, id := range ids {
		if err := stop(ctx, id, monitor); err != nil {
			return err
		}
	}
	return os.RemoveAll(dir)
}
