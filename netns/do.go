package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	vns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// threadPath leads to the namespace of the thread that opens it.
const threadPath = "/proc/thread-self/ns/net"

// errGoexit is what Do returns to nobody: fn ended its goroutine, as t.Fatal
// does.
var errGoexit = errors.New("the function ended its goroutine")

// Do calls fn on a thread that is inside n and waits for it. Processes that fn
// starts are born in n. Goroutines that fn starts are not in n. Do returns fn's
// error, or its own if the thread could not enter n: [fs.ErrPermission] without
// CAP_SYS_ADMIN over n. No privilege is needed for the namespace the process is
// in anyway.
//
// The thread is used for nothing else, and it is never the main thread. If it
// cannot be brought home it is destroyed, never handed back to the Go
// scheduler. That is no failure: a user who owns n but not the namespace the
// process is in may enter, and not return.
//
// A process started by fn must not use Pdeathsig: the signal is tied to the
// thread, and the thread may end before the process does.
func (n *NS) Do(fn func() error) error {
	err := errGoexit // stays if fn ends its goroutine
	aside(func() { err = n.visit(fn) })
	return err
}

// aside calls fn on a goroutine that is locked to a thread other than the main
// one, and waits for its end. The thread dies with the goroutine unless fn
// unlocks it.
func aside(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread can't be retired and speaks for the process in
			// /proc. While this goroutine keeps it, no other one gets it.
			aside(fn)
			runtime.UnlockOSThread()
			return
		}
		fn()
	}()
	<-done
}

// visit calls fn inside n on the calling thread, which is locked, and unlocks
// it once it is home again.
func (n *NS) visit(fn func() error) error {
	home, err := vns.GetFromPath(threadPath)
	if err != nil {
		runtime.UnlockOSThread() // nothing was changed yet
		return fmt.Errorf("open the thread's netns: %w", err)
	}
	defer home.Close()
	// From here on a return without UnlockOSThread destroys the thread.
	if err := n.enter(); err != nil {
		runtime.UnlockOSThread() // a failed setns changes nothing
		return fmt.Errorf("enter netns: %w", enterError(err))
	}
	err = fn()
	if leaveTo(home) == nil {
		runtime.UnlockOSThread()
	}
	return err
}

// enter takes the calling thread into n, unless it is there, which needs no
// privilege. It holds n's descriptor, so that a Close elsewhere can't put
// another file in its place.
func (n *NS) enter() error {
	raw, err := n.f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = raw.Control(func(fd uintptr) {
		var there bool
		if there, serr = threadIn(int(fd)); serr == nil && !there {
			serr = vns.Set(vns.NsHandle(fd))
		}
	})
	if err != nil { // the only way in which Control itself fails
		return fs.ErrClosed
	}
	return serr
}

// leaveTo takes the calling thread to home, unless it is there.
func leaveTo(home vns.NsHandle) error {
	if there, err := threadIn(int(home)); err != nil || there {
		return err
	}
	return vns.Set(home)
}

// threadIn reports whether the calling thread is in the namespace fd. Both
// exist now, so their inodes tell.
func threadIn(fd int) (bool, error) {
	var want, have unix.Stat_t
	if err := unix.Fstat(fd, &want); err != nil {
		return false, err
	}
	if err := unix.Stat(threadPath, &have); err != nil {
		return false, &os.PathError{Op: "stat", Path: threadPath, Err: err}
	}
	return want.Dev == have.Dev && want.Ino == have.Ino, nil
}

func enterError(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w (want root, or CAP_SYS_ADMIN over it)", err)
	}
	return err
}
