package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/internal/proc"
)

// maxCommand bounds the command line noted in the lock file, in bytes.
const maxCommand = 256

// A lockFile is the held lock beside the state file. bbolt has a lock of its
// own, but polls for it every 50 ms in no order; this one is given in the order
// it was asked for, and says who holds it.
type lockFile struct{ f *os.File } // f is nil where there is no lock file to hold

type lockMode int

const (
	mustExist lockMode = iota + 1 // a reader makes no file: without one bbolt's own lock must do
	makeIt
)

// lock waits for the lock file at path and notes this process in it. The caller
// closes it. It fails with [ErrLocked] when one process keeps it without doing anything for [LockWait] or
// at ctx's deadline, with ctx's error if ctx is cancelled, and with
// [errors.ErrUnsupported] on a network file system.
func lock(ctx context.Context, path string, mode lockMode) (*lockFile, error) {
	if err := onThisHost(filepath.Dir(path)); err != nil {
		return nil, err
	}
	ticks := time.NewTicker(LockWait / 10)
	defer ticks.Stop()
	return lockInTurn(ctx, path, mode, &queue{path: path, ticks: ticks.C, worked: func() uint64 { return work(path) }})
}

func lockInTurn(ctx context.Context, path string, mode lockMode, q *queue) (*lockFile, error) {
	flags := os.O_RDWR
	if mode == makeIt {
		flags |= os.O_CREATE
	}
	for {
		take := takeTurn
		f, err := os.OpenFile(path, flags, 0o600)
		if mode == mustExist && errors.Is(err, unix.EROFS) {
			f, err = os.Open(path)
			take = share // to lock a byte takes a file that can be written; and only readers meet here
		}
		if mode == mustExist && errors.Is(err, fs.ErrNotExist) {
			return &lockFile{}, nil
		}
		if err != nil {
			return nil, openError(path, err)
		}
		if err := await(ctx, f, take, q); err != nil {
			return nil, lockError(path, err)
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
func lockError(path string, err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("lock state %s: %w", path, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("lock state %s: %w by %s: %w", path, ErrLocked, holder(path), err)
	case errors.Is(err, errStalled):
		return fmt.Errorf("lock state %s: %w by %s, which has done nothing for %v (end it if it hangs)", path, ErrLocked, holder(path), LockWait)
	}
	return openError(path, err)
}

// readNote reads who holds the lock, or held it last.
func readNote(path string) (pid int, command string, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, "", err
	}
	first, command, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	pid, err = strconv.Atoi(first)
	return pid, command, err
}

// work returns the processor time of who holds the lock, 0 if that can't be told.
func work(path string) uint64 {
	pid, _, err := readNote(path)
	if err != nil {
		return 0
	}
	ticks, _ := proc.Worked(pid) // 0 if it is gone
	return ticks
}

// holder tells who holds the lock, for an error's text.
func holder(path string) string {
	pid, command, err := readNote(path)
	if err != nil {
		return "an unknown process"
	}
	if _, err := proc.Identify(pid); err != nil {
		return "an unknown process" // a note that was left behind
	}
	return fmt.Sprintf("pid %d (%q)", pid, command)
}
