package netns_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
	"golang.org/x/sys/unix"
)

// create makes a namespace under a name of the test's, and removes it after.
func create(t *testing.T, name string, m vsock.Mode) *netns.NS {
	t.Helper()
	n, err := netns.Create(name, m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if err := netns.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	})
	return n
}

// TestDoNeverTakesTheMainThread calls Do where the scheduler likes best to use
// the main thread: in a program that has just started, from its main goroutine.
func TestDoNeverTakesTheMainThread(t *testing.T) {
	testenv.Require(t, testenv.Root)
	create(t, "t-main", vsock.Global)
	if said, err := asks(t, actor("main t-main")); said != "never" || err != nil {
		t.Errorf("got %q, %v; want never", said, err)
	}
}

// playMain asks each time from inside: who is here, and where does /proc say
// that the process is.
func playMain(arg ...string) (string, error) {
	n, err := netns.Open(arg[0])
	if err != nil {
		return "", err
	}
	defer n.Close()
	home, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return "", err
	}
	for i := range 200 {
		err := n.Do(func() error {
			process, perr := os.Readlink("/proc/self/ns/net")
			thread, terr := os.Readlink("/proc/thread-self/ns/net")
			if unix.Gettid() == unix.Getpid() || process != home || thread == home {
				return fmt.Errorf("call %d: thread %d of process %d is in %s, which is said to be in %s, from %s",
					i, unix.Gettid(), unix.Getpid(), thread, process, home)
			}
			return errors.Join(perr, terr)
		})
		if err != nil {
			return "", err
		}
	}
	return "never", nil
}

func TestDoLeavesNoThreadBehind(t *testing.T) {
	testenv.Require(t, testenv.Root)
	n := create(t, "t-home", vsock.Global)
	home := inodeOf(t, "/proc/self/ns/net")
	boom := errors.New("boom")
	for name, tt := range map[string]struct {
		fn   func() error
		want func(error) bool
	}{
		"returns": {func() error { return nil }, func(err error) bool { return err == nil }},
		"fails":   {func() error { return boom }, func(err error) bool { return err == boom }},
		"ends":    {func() error { runtime.Goexit(); return nil }, func(err error) bool { return err != nil }},
		"strays":  {func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func(err error) bool { return err == nil }},
	} {
		if err := n.Do(tt.fn); !tt.want(err) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if got := inodeOf(t, "/proc/thread-self/ns/net"); got != home {
				t.Errorf("a later goroutine is in %d, want %d", got, home)
			}
		})
	}
	wg.Wait()
	if abroad := threadsAbroad(); len(abroad) > 0 {
		t.Errorf("threads abroad: %v", abroad)
	}
}

func TestDoWithinDo(t *testing.T) {
	testenv.Require(t, testenv.Root)
	outer, inner := create(t, "t-outer", vsock.Global), create(t, "t-inner", vsock.Global)
	err := outer.Do(func() error {
		err := inner.Do(func() error {
			if got, want := inodeOf(t, "/proc/thread-self/ns/net"), inodeOf(t, "/run/netns/t-inner"); got != want {
				t.Errorf("inside: in %d, want %d", got, want)
			}
			own, err := netns.Open("")
			if err != nil {
				return err
			}
			defer own.Close()
			if own.ID() == inner.ID() || own.ID() == outer.ID() {
				t.Errorf("the process's own namespace is told as %v from inside another", own.ID())
			}
			return nil
		})
		if got, want := inodeOf(t, "/proc/thread-self/ns/net"), inodeOf(t, "/run/netns/t-outer"); got != want {
			t.Errorf("back outside: in %d, want %d", got, want)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestChildrenAreBornInside(t *testing.T) {
	testenv.Require(t, testenv.Root)
	n := create(t, "t-child", vsock.Global)
	var said string
	err := n.Do(func() (err error) {
		said, err = asks(t, actor("where"))
		return err
	})
	want, _ := os.Readlink("/proc/self/ns/net")
	if err != nil || said == want || said == "" {
		t.Errorf("child says %q, %v; want another namespace than %q", said, err, want)
	}
}

func TestProcesses(t *testing.T) {
	testenv.Require(t, testenv.Root)
	n := create(t, "t-procs", vsock.Global)
	if pids, err := n.Processes(); len(pids) != 0 || err != nil {
		t.Errorf("empty namespace: got %v, %v", pids, err)
	}
	var s *stander
	if err := n.Do(func() error { s = start(t, actor("stay")); return nil }); err != nil {
		t.Fatal(err)
	}
	if pids, err := n.Processes(); len(pids) != 1 || pids[0] != s.Process.Pid || err != nil {
		t.Errorf("got %v, %v; want %d", pids, err, s.Process.Pid)
	}
	if _, err := s.end(t); err != nil {
		t.Error(err)
	}
	if pids, err := n.Processes(); len(pids) != 0 || err != nil {
		t.Errorf("after its end: got %v, %v", pids, err)
	}
}

func TestClosedNamespace(t *testing.T) {
	testenv.Require(t, testenv.Root)
	n := create(t, "t-closed", vsock.Global)
	id := n.ID()
	if err := errors.Join(n.Close(), n.Close()); err != nil {
		t.Errorf("close twice: %v", err)
	}
	if err := n.Do(func() error { t.Error("called"); return nil }); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Do: got %v, want fs.ErrClosed", err)
	}
	if _, err := n.Mode(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Mode: got %v, want fs.ErrClosed", err)
	}
	if _, err := n.Processes(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Processes: got %v, want fs.ErrClosed", err)
	}
	if n.ID() != id || n.Ref() != "t-closed" {
		t.Errorf("got %v %q, want what it was", n.ID(), n.Ref())
	}
}

// TestOwnNamespaceNeedsNoPrivilege enters the namespace we are in as nobody.
func TestOwnNamespaceNeedsNoPrivilege(t *testing.T) {
	testenv.Require(t, testenv.Root)
	n, err := netns.Open("")
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	cmd := asNobody(t, "own")
	said, err := asks(t, cmd)
	if want := `"" ` + n.ID().String() + " global"; said != want || err != nil {
		t.Errorf("user 65534 says %s, %v; want %s", said, err, want)
	}
	said, err = asks(t, asNobody(t, "create t-nobody global"))
	if want := "want root"; err == nil || !contains(said, want) {
		t.Errorf("user 65534 says %s, %v; want a failure with %q", said, err, want)
	}
}
