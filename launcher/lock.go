package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/configs"
)

// lockWait bounds the wait for one other verb on the same machine. The longest
// one that holds the lock is a stop, whose default grace is half of it. While the
// lock goes from hand to hand one goes on waiting.
const lockWait = time.Minute

// errLocked says that a verb is at work on the machine.
var errLocked = errors.New("is being worked on")

// A lock is held for the duration of one verb on one machine, or for the moment
// in which a namespace is made or removed. The kernel drops it with the
// process, so a free lock on a machine in mid-launch proves that its launcher
// is gone.
type lock struct {
	f      *os.File
	path   string
	shared bool
}

// lockMachine waits until no other verb works on name. The caller releases the
// lock. It fails with [configs.Errors] if no machine can have that name, and with
// context.DeadlineExceeded, naming the holder, after [lockWait].
func (l *Launcher) lockMachine(ctx context.Context, name string) (*lock, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	return waitLock(ctx, l.lockPath("machine", name), fmt.Sprintf("machine %q", name), unix.LOCK_EX)
}

// checkName keeps what is no name out of paths.
func checkName(name string) error {
	if err := configs.ValidName(name); err != nil {
		return configs.Errors{{Field: "name", Value: name, Problem: err.Error()}}
	}
	return nil
}

func (l *Launcher) lockNetns(ctx context.Context, ref string) (*lock, error) {
	return waitLock(ctx, l.netnsLock(ref), netnsTitle(ref), unix.LOCK_EX)
}

// shareNetns locks the namespace ref against its making and removal, but not
// against others who only use it.
func (l *Launcher) shareNetns(ctx context.Context, ref string) (*lock, error) {
	return waitLock(ctx, l.netnsLock(ref), netnsTitle(ref), unix.LOCK_SH)
}

func (l *Launcher) netnsLock(ref string) string {
	return l.lockPath("netns", strings.ReplaceAll(ref, "/", "_"))
}

// lockPath lies in a folder that no machine can have: a name has no dot first.
func (l *Launcher) lockPath(kind, name string) string {
	return filepath.Join(l.Dirs.Run, ".locks", kind+"-"+name)
}

// waitLock waits in the kernel's queue: a hundred processes that ask again and
// again would leave no time to the one they wait for.
func waitLock(ctx context.Context, path, title string, how int) (*lock, error) {
	for {
		k, err := takeLock(path, how)
		if !errors.Is(err, errLocked) {
			return k, err
		}
		turn, cancel := context.WithTimeout(ctx, lockWait)
		err = awaitTurn(turn, path, how)
		cancel()
		if err != nil {
			holder, _ := os.ReadFile(path)
			return nil, fmt.Errorf("lock %s: %w: %w", title, lockedBy(holder), err)
		}
	}
}

// awaitTurn returns when the lock at path could be had, or was given up. It
// fails with ctx's error.
//
// A thread that waits in flock(2) can't be called back, as Go's signal handlers
// restart it. If ctx ends first, the goroutine stays behind with the file until it
// is given the lock, which it drops at once.
func awaitTurn(ctx context.Context, path string, how int) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ctx.Err() // given up since
	}
	if err != nil {
		return fmt.Errorf("open lock: %w", err)
	}
	turn := make(chan struct{})
	go func() {
		defer close(turn)
		defer f.Close()
		for errors.Is(unix.Flock(int(f.Fd()), how), unix.EINTR) {
		}
	}()
	select {
	case <-turn:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func lockedBy(holder []byte) error {
	if len(holder) == 0 {
		return errLocked
	}
	return fmt.Errorf("%w by %s", errLocked, holder)
}

// tryLock takes the lock at path, or fails with [errLocked] at once.
func tryLock(path string) (*lock, error) { return takeLock(path, unix.LOCK_EX) }

// takeLock is tryLock, alone (LOCK_EX) or with others (LOCK_SH). It makes the
// folder, which is gone after a restart of the host.
func takeLock(path string, how int) (*lock, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make folder of locks: %w", err)
	}
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open lock: %w", err)
		}
		err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err != nil {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, errLocked
			}
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if !isFile(f, path) { // its holder removed it between open and flock
			f.Close()
			continue
		}
		_ = f.Truncate(0) // the holder's name is for error messages only
		_, _ = f.WriteAt(fmt.Appendf(nil, "pid %d", os.Getpid()), 0)
		return &lock{f, path, how == unix.LOCK_SH}, nil
	}
}

// locked reports whether somebody holds the lock at path. It takes nothing that
// a holder could notice, and makes no file.
func locked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// isFile reports whether path still leads to f.
func isFile(f *os.File, path string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(mine, there)
}

// release gives the lock up and removes its file, so that a machine that is
// gone leaves none. Releasing twice is fine.
func (k *lock) release() {
	if k == nil || k.f == nil {
		return
	}
	if k.shared && unix.Flock(int(k.f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		k.f.Close() // the last who shares it removes the file
		k.f = nil
		return
	}
	// While the lock is held alone nobody else removes the file: see isFile.
	if err := os.Remove(k.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		_ = k.f.Truncate(0)
	}
	k.f.Close()
	k.f = nil
}
