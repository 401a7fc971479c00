package netns_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
	"golang.org/x/sys/unix"
)

func claimedIn(t *testing.T, n *netns.NS, c vsock.CID, want bool) {
	t.Helper()
	var got bool
	err := n.Do(func() (err error) {
		got, err = vsock.Claimed(c)
		return err
	})
	if got != want || err != nil {
		t.Errorf("cid %d asked for in %s: got %v, %v, want %v", c, n.Ref(), got, err, want)
	}
}

// holdIn claims c inside n. The test lets go of it.
func holdIn(t *testing.T, n *netns.NS, c vsock.CID) (*vsock.Guard, error) {
	t.Helper()
	var g *vsock.Guard
	err := n.Do(func() (err error) {
		g, err = vsock.Hold(c)
		return err
	})
	if g != nil {
		t.Cleanup(func() {
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return g, err
}

// hostModes fails the test unless the host's own knobs are as they were at boot.
func hostModes(t *testing.T) {
	t.Helper()
	for name, mode := range map[string]func() (vsock.Mode, error){"ns_mode": vsock.ModeHere, "child_ns_mode": vsock.ChildMode} {
		if m, err := mode(); m != vsock.Global || err != nil {
			t.Errorf("the host's %s: got %v, %v; want global", name, m, err)
		}
	}
}

func TestFact5CreateGivesTheModeAskedFor(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VsockModes)
	for _, want := range []vsock.Mode{vsock.Local, vsock.Global, vsock.Local} {
		n := create(t, fmt.Sprintf("t-%v", want), want)
		if m, err := n.Mode(); m != want || err != nil {
			t.Errorf("mode: got %v, %v; want %v", m, err, want)
		}
		err := n.Do(func() error {
			if m, err := vsock.ChildMode(); m != want || err != nil {
				t.Errorf("its children's: got %v, %v; want %v", m, err, want)
			}
			return nil
		})
		if err := errors.Join(err, netns.Remove(n.Ref())); err != nil {
			t.Error(err)
		}
		hostModes(t)
	}
}

// TestFact6 reads the knob of two namespaces at once, from two threads.
func TestFact6KnobsAreTheThreads(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VsockModes)
	local, global := create(t, "t-local", vsock.Local), create(t, "t-global", vsock.Global)
	var inner vsock.Mode
	err := local.Do(func() error {
		var err error
		if inner, err = global.Mode(); err != nil {
			return err
		}
		m, err := vsock.ModeHere()
		if m != vsock.Local {
			t.Errorf("in the local one: got %v", m)
		}
		return err
	})
	if err != nil || inner != vsock.Global {
		t.Errorf("in the global one: got %v, %v", inner, err)
	}
}

// TestCreateFromInsideALocalNamespace starts in a local namespace, whose
// children are local for good, and asks for both modes.
func TestCreateFromInsideALocalNamespace(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VsockModes)
	inside := create(t, "t-home", vsock.Local)
	for _, mode := range []string{"local", "global"} {
		err := inside.Do(func() error {
			if said, err := asks(t, actor("create t-made "+mode)); said != mode || err != nil {
				t.Errorf("create %s: got %q, %v", mode, said, err)
			}
			return netns.Remove("t-made")
		})
		if err != nil {
			t.Error(err)
		}
	}
	hostModes(t)
}

func TestFact11ClaimBelongsWhereTheDeviceWasOpened(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	n := create(t, "t-local", vsock.Local)
	g, err := holdIn(t, n, 90)
	if err != nil {
		t.Fatal(err)
	}
	// The same descriptor, claimed anew by a thread in the host's namespace.
	cid := uint64(91)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, g.File().Fd(), 0x4008af60, uintptr(unsafe.Pointer(&cid)))
	if errno != 0 {
		t.Fatal(errno)
	}
	if _, err := holdIn(t, n, 91); !errors.Is(err, vsock.ErrInUse) {
		t.Errorf("91 in the local namespace: got %v, want ErrInUse", err)
	}
	host, err := vsock.Hold(91)
	if err != nil {
		t.Fatalf("91 on the host: %v", err)
	}
	if err := host.Close(); err != nil {
		t.Error(err)
	}
}

// TestFact12 is the table of who may have the same CID at once.
func TestFact12SameCID(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock)
	tests := []struct {
		first, second vsock.Mode
		want          error
	}{
		{vsock.Global, vsock.Global, vsock.ErrInUse},
		{vsock.Local, vsock.Local, nil},
		{vsock.Local, vsock.Global, nil},
		{vsock.Global, vsock.Local, nil},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%v then %v", tt.first, tt.second), func(t *testing.T) {
			if tt.first == vsock.Local || tt.second == vsock.Local {
				testenv.Require(t, testenv.VsockModes)
			}
			a, b := create(t, "t-first", tt.first), create(t, "t-second", tt.second)
			if _, err := holdIn(t, a, 42); err != nil {
				t.Fatal(err)
			}
			// Asking follows the same rule as claiming.
			claimedIn(t, a, 42, true)
			claimedIn(t, b, 42, tt.want != nil)
			if _, err := holdIn(t, b, 42); !errors.Is(err, tt.want) || tt.want == nil && err != nil {
				t.Errorf("second: got %v, want %v", err, tt.want)
			}
			if _, err := holdIn(t, a, 42); !errors.Is(err, vsock.ErrInUse) {
				t.Errorf("again in the first: got %v, want ErrInUse", err)
			}
		})
	}
}

// dialIn connects by loopback inside n.
func dialIn(ctx context.Context, n *netns.NS, port uint32) (c net.Conn, err error) {
	err = n.Do(func() (err error) {
		c, err = vsock.Dial(ctx, vsock.Loopback, port)
		return err
	})
	return c, err
}

// TestLoopbackBetweenNamespaces is the table of what crosses: all between
// global namespaces, and nothing to or from a local one.
func TestLoopbackBetweenNamespaces(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	spaces := map[string]*netns.NS{
		"global": create(t, "t-global", vsock.Global), "global2": create(t, "t-global2", vsock.Global),
		"local": create(t, "t-local", vsock.Local), "local2": create(t, "t-local2", vsock.Local),
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for to, server := range spaces {
		var l *vsock.Listener
		if err := server.Do(func() (err error) { l, err = vsock.Listen(0); return err }); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		for from, client := range spaces {
			crosses := from == to || from[0] == 'g' && to[0] == 'g'
			c, err := dialIn(ctx, client, l.Port())
			if err == nil {
				_ = c.Close()
			}
			if crosses != (err == nil) || !crosses && !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("%s to %s: got %v; want it to cross: %v", from, to, err, crosses)
			}
		}
	}
}

// TestPortsAreSharedAsCIDsAre asks where a second listener on a port may be.
func TestPortsAreSharedAsCIDsAre(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	l, err := vsock.Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for mode, want := range map[vsock.Mode]error{vsock.Global: unix.EADDRINUSE, vsock.Local: nil} {
		err := create(t, fmt.Sprintf("t-%v", mode), mode).Do(func() error {
			second, err := vsock.Listen(l.Port())
			if err == nil {
				_ = second.Close()
			}
			return err
		})
		if !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("in a %v namespace: got %v, want %v", mode, err, want)
		}
	}
}

// TestFact21 makes a namespace as a user without privilege, in a user namespace
// and with a /run of its own, while the process's own network namespace belongs
// to the host: it may leave that one and not come back.
func TestFact21Rootless(t *testing.T) {
	testenv.Require(t, testenv.Root)
	mode := modeHere(t)
	cmd := publicActor(t, "rootless "+mode.String())
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 65534, Size: 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: ids, GidMappings: ids,
		Credential: &syscall.Credential{NoSetGroups: true},
	}
	if said, err := asks(t, cmd); said != mode.String() || err != nil {
		t.Errorf("got %q, %v; want %v", said, err, mode)
	}
	hostModes(t)
}

func playRootless(arg ...string) (string, error) {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return "", err
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return "", err
	}
	mode, err := playCreate("rootless", arg[0])
	if err != nil {
		return "", err
	}
	if err := netns.Remove("rootless"); err != nil {
		return "", err
	}
	if _, err := os.Lstat("/run/netns/rootless"); !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("file after Remove: %w", err)
	}
	return mode, nil
}
