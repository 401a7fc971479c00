package main

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A reaper is the only one in the process that waits for children. PID 1 has
// to wait for every orphan of the system (wait4(-1)), so nobody else can wait
// for a child of his own: the two would steal each other's exit codes. The
// reaper starts the children too, and hands each exit to its owner.
//
// A child's pid stays its own until the reaper has reaped it, and that happens
// under the same lock as signalling: a signal can't reach a stranger.
//
// All methods are safe for concurrent use. [reaper.reap] has to be called
// after each SIGCHLD.
type reaper struct {
	mu       sync.Mutex
	children map[int]*child
}

func newReaper() *reaper { return &reaper{children: make(map[int]*child)} }

// A child is a started process, the leader of a session and process group of
// its own.
type child struct {
	r    *reaper
	pid  int
	done chan struct{} // closed when reaped

	status unix.WaitStatus // valid once done is closed
	hungUp bool            // guarded by r.mu: what is left of the group goes with its leader
}

// start starts a program as the leader of a new session. It fails as
// syscall.ForkExec does.
func (r *reaper) start(path string, argv []string, attr *syscall.ProcAttr) (*child, error) {
	r.mu.Lock() // until the child is known, its exit must not be reaped
	defer r.mu.Unlock()
	attr.Sys.Setsid = true
	pid, err := syscall.ForkExec(path, argv, attr)
	if err != nil {
		return nil, &os.PathError{Op: "start", Path: path, Err: err}
	}
	c := &child{r: r, pid: pid, done: make(chan struct{})}
	r.children[pid] = c
	return c, nil
}

// reap reaps every child that has exited, started here or inherited, and
// reports whether any child is left. It never blocks.
func (r *reaper) reap() (left bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		// Look first, reap second: a zombie leader keeps the group's number
		// from being given to somebody else while the rest is killed.
		pid, err := exitedChild()
		switch {
		case errors.Is(err, unix.ECHILD):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("wait for children: %w", err)
		case pid == 0:
			return true, nil
		}
		c := r.children[pid]
		if c != nil && c.hungUp {
			_ = unix.Kill(-pid, unix.SIGKILL) // ESRCH: nobody else was in the group
		}
		var status unix.WaitStatus
		if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
			return true, fmt.Errorf("reap pid %d: %w", pid, err)
		}
		if c != nil {
			delete(r.children, pid)
			c.status = status
			close(c.done)
		}
	}
}

// signal sends sig to the child's process group; it does nothing once the
// child was reaped.
func (c *child) signal(sig syscall.Signal) {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	c.signalLocked(sig)
}

// hangUp sends SIGHUP to the child's process group. From now on the group ends
// with its leader: whoever is left of it then is killed.
func (c *child) hangUp() {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	c.hungUp = true
	c.signalLocked(unix.SIGHUP)
	c.signalLocked(unix.SIGCONT) // a stopped process would never see it
}

func (c *child) signalLocked(sig syscall.Signal) {
	if c.r.children[c.pid] == c {
		_ = unix.Kill(-c.pid, sig) // only ESRCH is possible for PID 1: the leader left its group
	}
}
