package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A handle is a pidfd: it refers to one process, whatever becomes of its pid.
// See pidfd_open(2).
type handle struct{ f *os.File }

// open returns a handle on the process that has pid now, or [ErrGone]. The
// caller closes it.
func open(pid int) (handle, error) {
	if pid <= 0 {
		return handle{}, gone(pid)
	}
	// Non-blocking (since Linux 5.10) lets the Go poller wait for it.
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	switch {
	case errors.Is(err, unix.ESRCH):
		return handle{}, gone(pid)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
		// A thread's id is no process: EINVAL until Linux 6.16, ENOENT since.
		return handle{}, gone(pid)
	case err != nil:
		return handle{}, fmt.Errorf("open pid %d: %w", pid, err)
	}
	return handle{os.NewFile(uintptr(fd), fmt.Sprintf("pidfd:%d", pid))}, nil
}

func (h handle) Close() error { return h.f.Close() }

// exited reports whether the process has ended, reaped or not.
func (h handle) exited() bool {
	done := false
	h.control(func(fd int) { done = readable(fd) })
	return done
}

func (h handle) signal(sig syscall.Signal) error {
	err := os.ErrClosed
	h.control(func(fd int) { err = unix.PidfdSendSignal(fd, sig, nil, 0) })
	return err
}

// wait returns nil once the process has ended, or ctx's error.
func (h handle) wait(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c, err := h.f.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = h.f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	err = c.Read(func(fd uintptr) bool { return readable(int(fd)) })
	if cerr := ctx.Err(); err != nil && cerr != nil {
		return cerr
	}
	return err
}

// control runs fn with the descriptor, which stays open meanwhile. fn does not
// run on a closed handle.
func (h handle) control(fn func(fd int)) {
	c, err := h.f.SyscallConn()
	if err != nil {
		return
	}
	_ = c.Control(func(fd uintptr) { fn(int(fd)) })
}

// readable reports whether the pidfd says that its process has ended.
func readable(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p, 0)
		if err != unix.EINTR {
			return err == nil && n > 0
		}
	}
}
