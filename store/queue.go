package store

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// errStalled says that who has the lock has not got on for too long.
var errStalled = errors.New("lock is kept and not used")

// A queue is what a waiting process watches: whether the lock changes hands, and
// whether who has it gets on. The zero queue watches nothing.
type queue struct {
	path   string
	ticks  <-chan time.Time      // when to look
	worked func() (ticks uint64) // processor time of the holder; nil is not to be asked

	seen  progress
	since time.Time // when seen was first seen
}

// progress is what changes while the queue moves. Each holder writes to the lock
// file. One that has to share its processors with a hundred others may keep the
// lock for long, but comes to work a little.
type progress struct {
	changed time.Time // the lock file's
	worked  uint64
}

// look fails with errStalled if there was no progress for [LockWait].
func (q *queue) look(now time.Time) error {
	info, err := os.Stat(q.path)
	if err != nil { // removed: the waiter will notice when it has its turn
		return nil
	}
	p := progress{changed: info.ModTime()}
	if q.worked != nil {
		p.worked = q.worked()
	}
	switch {
	case p != q.seen:
		q.seen, q.since = p, now
	case now.Sub(q.since) >= LockWait:
		return errStalled
	}
	return nil
}

// await locks f by take, which may block. It closes f and fails with ctx's error
// when ctx ends, and as q says.
//
// A thread that waits for a lock can't be called back, as Go's signal handlers
// restart it. If the wait ends first, the goroutine stays behind with f, and
// closes it as soon as it is given the lock.
func await(ctx context.Context, f *os.File, take func(*os.File) error, q *queue) error {
	if err := ctx.Err(); err != nil {
		f.Close()
		return err
	}
	done, left := make(chan error), make(chan struct{})
	defer close(left)
	go func() {
		err := take(f)
		if err != nil {
			f.Close()
		}
		select {
		case done <- err:
		case <-left:
			f.Close()
		}
	}()
	for {
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case now := <-q.ticks:
			if err := q.look(now); err != nil {
				return err
			}
		}
	}
}

// share locks f together with others that do so.
func share(f *os.File) error {
	return again(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_SH) })
}

// The first byte of the lock file is locked while a process joins the queue.
const door = 0

// takeTurn locks f for itself after all who came before.
//
// flock(2) alone is not fair. Who asks at the moment when it is free has it, and
// who was first in the kernel's queue wakes up too late: of 100 processes at work
// in a loop, one was overtaken 440 times. So each who comes locks a byte of f
// (fcntl(2), open file description locks), the one behind the last that is locked,
// and waits for the byte before its own. The kernel frees a byte when its process
// is done or dead. Who dies in the queue lets the next one pass too early, so
// flock still decides.
func takeTurn(f *os.File) error {
	if err := lockByte(f, unix.F_OFD_SETLKW, unix.F_WRLCK, door); err != nil {
		return err
	}
	last, err := lastLocked(f)
	if err != nil {
		return err
	}
	if err := lockByte(f, unix.F_OFD_SETLK, unix.F_WRLCK, last+1); err != nil {
		return err
	}
	if err := lockByte(f, unix.F_OFD_SETLK, unix.F_UNLCK, door); err != nil {
		return err
	}
	if last > door {
		if err := lockByte(f, unix.F_OFD_SETLKW, unix.F_WRLCK, last); err != nil {
			return err
		}
	}
	return again(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX) })
}

// lastLocked returns the last byte that another process has locked, door if there
// is none.
func lastLocked(f *os.File) (int64, error) {
	last := int64(door)
	for {
		l := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: last + 1} // to the end of all
		if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l); err != nil {
			return 0, err
		}
		if l.Type == unix.F_UNLCK {
			return last, nil
		}
		last = l.Start + l.Len - 1
	}
}

func lockByte(f *os.File, cmd int, kind int16, at int64) error {
	return again(func() error {
		return unix.FcntlFlock(f.Fd(), cmd, &unix.Flock_t{Type: kind, Whence: io.SeekStart, Start: at, Len: 1})
	})
}

// again does what a signal broke off once more.
func again(do func() error) error {
	for {
		if err := do(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
