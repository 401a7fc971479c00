package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockWait bounds the wait for the lock on /run/netns. Its holders, this
// program and `ip netns add`, keep it for milliseconds; longer means that one
// was stopped.
const lockWait = 10 * time.Second

// lockStep is the time between two tries: short against the holders' work.
const lockStep = 2 * time.Millisecond

// prepare makes /run/netns a shared mount of its own, as `ip netns add` does.
// If iproute2 did that later, names made before could not be removed any more,
// neither by it nor by us; and without it a name could stay pinned in the mount
// namespace of some service after its removal here.
func prepare() error {
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return err
	}
	return locked(share)
}

// share does the mounting for prepare.
func share() error {
	err := unix.Mount("", runDir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if !errors.Is(err, unix.EINVAL) {
		return mountError("share", err)
	}
	// Not a mount point yet.
	if err := unix.Mount(runDir, runDir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return mountError("bind", err)
	}
	return mountError("share", unix.Mount("", runDir, "none", unix.MS_SHARED|unix.MS_REC, ""))
}

func mountError(verb string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", verb, runDir, err)
}

// locked calls fn under the lock on /run/netns, which iproute2 takes too when it
// prepares the directory. It fails with [context.DeadlineExceeded] if somebody
// else keeps the lock.
func locked(fn func() error) error {
	dir, err := os.OpenFile(runDir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer dir.Close() // which also unlocks
	//nolint:forbidigo // a poll with a bound: flock(2) has none
	for end := time.Now().Add(lockWait); ; time.Sleep(lockStep) {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return fn()
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EWOULDBLOCK):
			return fmt.Errorf("lock %s: %w", runDir, err)
		case time.Now().After(end):
			return fmt.Errorf("lock %s: %w after %v (another process keeps it; see: fuser %[1]s)", runDir, context.DeadlineExceeded, lockWait)
		}
	}
}
