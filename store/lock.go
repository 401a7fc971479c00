package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/internal/proc"
)

// maxCommand bounds the command line noted in the lock file, in bytes.
const maxCommand = 256

// A lockFile is the held lock beside the state file. bbolt has a lock of its
// own, but polls for it every 50 ms in no order; this one queues in the kernel,
// and says who holds it.
type lockFile struct{ f *os.File } // f is nil where there is no lock file to hold

type lockMode int

const (
	mustExist lockMode = iota + 1 // a reader makes no file: without one bbolt's own lock must do
	makeIt
)

// lock waits for the lock file at path and notes this process in it. The caller
// closes it. It fails with [ErrLocked] after [LockWait] or at ctx's deadline,
// with ctx's error if ctx is cancelled.
func lock(ctx context.Context, path string, mode lockMode) (*lockFile, error) {
	wait, cancel := context.WithTimeout(ctx, LockWait)
	defer cancel()
	flags := os.O_RDWR
	if mode == makeIt {
		flags |= os.O_CREATE
	}
	for {
		f, err := os.OpenFile(path, flags, 0o600)
		if mode == mustExist && errors.Is(err, fs.ErrNotExist) {
			return &lockFile{}, nil
		}
		if err != nil {
			return nil, openError(path, err)
		}
		if err := flock(wait, f, unix.LOCK_EX); err != nil {
			return nil, lockError(ctx, path, err)
		}
		if same(f, path) {
			l := &lockFile{f}
			l.note(fmt.Sprintf("%d %s\n", os.Getpid(), strings.Join(os.Args, " ")))
			return l, nil
		}
		f.Close() // the file was removed or replaced while we waited
	}
}

// Close gives the lock back.
func (l *lockFile) Close() error {
	if l.f == nil {
		return nil
	}
	l.note("")
	return l.f.Close()
}

// note writes who holds the lock. Nothing depends on it but the text of an
// error, so a full disk is no reason to fail.
func (l *lockFile) note(holder string) {
	if len(holder) > maxCommand {
		holder = holder[:maxCommand]
	}
	if l.f.Truncate(0) == nil {
		_, _ = l.f.WriteAt([]byte(holder), 0)
	}
}

// flock locks f, for itself (LOCK_EX) or with other readers (LOCK_SH), or closes
// it and returns ctx's error.
//
// A thread that waits in flock(2) can't be called back, as Go's signal handlers
// restart it. If ctx ends first, the goroutine stays behind with f, and closes
// it as soon as it is given the lock.
func flock(ctx context.Context, f *os.File, how int) error {
	if err := ctx.Err(); err != nil {
		f.Close()
		return err
	}
	if unix.Flock(int(f.Fd()), how|unix.LOCK_NB) == nil {
		return nil
	}
	done := make(chan error)
	go func() {
		err := unix.Flock(int(f.Fd()), how)
		for errors.Is(err, unix.EINTR) {
			err = unix.Flock(int(f.Fd()), how)
		}
		if err != nil {
			f.Close()
		}
		select {
		case done <- err:
		case <-ctx.Done():
			f.Close()
		}
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// same reports whether path still leads to f.
func same(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// lockError tells a cancelled wait from one that took too long, and names the
// holder for the latter.
func lockError(ctx context.Context, path string, err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("lock state %s: %w", path, err)
	case !errors.Is(err, context.DeadlineExceeded):
		return openError(path, err)
	case ctx.Err() != nil: // the caller's deadline, not ours
		return fmt.Errorf("lock state %s: %w by %s: %w", path, ErrLocked, holder(path), err)
	}
	return fmt.Errorf("lock state %s: %w by %s, still after %v", path, ErrLocked, holder(path), LockWait)
}

// holder reads who holds the lock, for an error's text.
func holder(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "an unknown process"
	}
	first, command, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return "an unknown process"
	}
	if _, err := proc.Identify(pid); err != nil {
		return "an unknown process" // a note that was left behind
	}
	return fmt.Sprintf("pid %d (%q)", pid, command)
}
