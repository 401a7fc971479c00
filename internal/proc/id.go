// Package proc names long-lived processes so that the name stays true: a pid is
// handed out again, a pid with its start time and the boot it belongs to is not.
package proc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrGone says that the process has ended. A zombie has ended too: it holds no
// file, no memory and no CID any more.
var ErrGone = errors.New("process is gone")

// An ID names one process for good. The zero ID names none.
type ID struct {
	PID int `json:"pid"`
	// Start is the time the process started, in clock ticks since boot:
	// field 22 of /proc/PID/stat, see proc_pid_stat(5).
	Start uint64 `json:"start"`
	// Boot is the boot the pid belongs to: /proc/sys/kernel/random/boot_id.
	Boot string `json:"boot"`
}

// Identify returns the name of the process that has pid now. It fails with
// [ErrGone] if there is none or only its zombie.
func Identify(pid int) (ID, error) {
	h, err := open(pid)
	if err != nil {
		return ID{}, err
	}
	defer h.Close()
	// The handle comes first: if the process it refers to still lives after
	// stat was read, stat was about that process.
	start, err := startTime(pid)
	if err != nil {
		return ID{}, err
	}
	if h.exited() {
		return ID{}, gone(pid)
	}
	boot, err := bootID()
	if err != nil {
		return ID{}, err
	}
	return ID{PID: pid, Start: start, Boot: boot}, nil
}

// Self returns the name of the calling process. It fails only without /proc.
func Self() (ID, error) { return Identify(os.Getpid()) }

// IsZero reports whether id names no process.
func (id ID) IsZero() bool { return id == ID{} }

// String returns "pid N".
func (id ID) String() string { return fmt.Sprintf("pid %d", id.PID) }

// Alive reports whether the process runs: false for a zombie, for a pid that
// belongs to another process by now, and for an ID of an earlier boot.
func (id ID) Alive() bool {
	h, err := id.open()
	if err != nil {
		return false
	}
	h.Close()
	return true
}

// Signal sends sig to the process. It fails with [ErrGone] if the process has
// ended, and with [fs.ErrPermission]. It takes a handle first and checks the
// name second, so sig cannot reach a stranger.
func (id ID) Signal(sig syscall.Signal) error {
	h, err := id.open()
	if err != nil {
		return err
	}
	defer h.Close()
	switch err := h.signal(sig); {
	case errors.Is(err, unix.ESRCH):
		return gone(id.PID)
	case err != nil:
		return fmt.Errorf("signal pid %d: %w", id.PID, err)
	}
	return nil
}

// Wait returns nil once the process has ended, at once if it has already. It
// fails when ctx ends first. It does not reap: that is the parent's.
func (id ID) Wait(ctx context.Context) error {
	h, err := id.open()
	if errors.Is(err, ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer h.Close()
	if err := h.wait(ctx); err != nil {
		return fmt.Errorf("wait for pid %d: %w", id.PID, err)
	}
	return nil
}

// open returns a handle on the process, or [ErrGone] if it has ended: the kernel
// itself would still give one on a zombie, and take signals for it. The caller
// closes the handle.
func (id ID) open() (handle, error) {
	h, err := open(id.PID)
	if err != nil {
		return handle{}, err
	}
	now, err := Identify(id.PID)
	if err == nil && now != id {
		err = gone(id.PID)
	}
	if err != nil {
		h.Close()
		return handle{}, err
	}
	return h, nil
}

func gone(pid int) error { return fmt.Errorf("pid %d: %w", pid, ErrGone) }

// procError turns a failure to read /proc/PID into [ErrGone] where it means
// that: ENOENT when the process is gone, ESRCH when it goes while being read.
func procError(pid int, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return gone(pid)
	}
	return err
}
