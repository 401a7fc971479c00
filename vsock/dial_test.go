package vsock_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/vsock"
	"golang.org/x/sys/unix"
)

// patience bounds what the kernel answers within 2 seconds by itself.
const patience = 30 * time.Second

func listen(t *testing.T, port uint32) *vsock.Listener {
	t.Helper()
	l, err := vsock.Listen(port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close listener: %v", err)
		}
	})
	return l
}

func TestListenChoosesAPort(t *testing.T) {
	l := listen(t, 0)
	if a, ok := l.Addr().(*vsock.Addr); !ok || a.Port != l.Port() || a.CID != vsock.Any || l.Port() == 0 {
		t.Errorf("got %v and port %d, want Any and a chosen port", l.Addr(), l.Port())
	}
	if other, err := vsock.Listen(l.Port()); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("second listener on %d: got %v, %v; want EADDRINUSE", l.Port(), other, err)
	}
}

func TestAcceptEnds(t *testing.T) {
	l := listen(t, 0)
	if err := l.SetDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if c, err := l.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: got %v, %v; want os.ErrDeadlineExceeded", c, err)
	}
	if err := l.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	accepted := make(chan error)
	go func() {
		_, err := l.Accept()
		accepted <- err
	}()
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Errorf("close twice: %v", err)
	}
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("after close: got %v, want net.ErrClosed", err)
	}
}

// TestConnection needs vsock_loopback, which comes with vhost-vsock wherever
// tests have that.
func TestConnection(t *testing.T) {
	testenv.Require(t, testenv.VhostVsock)
	l := listen(t, 0)
	out, err := vsock.Dial(t.Context(), vsock.Loopback, l.Port())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()

	if a, ok := in.RemoteAddr().(*vsock.Addr); !ok || a.CID != vsock.Loopback || a.Port == 0 || a.Port != portOf(out.LocalAddr()) {
		t.Errorf("accepted from %v, want 1 and the port of %v", in.RemoteAddr(), out.LocalAddr())
	}
	if a, ok := out.RemoteAddr().(*vsock.Addr); !ok || *a != (vsock.Addr{CID: vsock.Loopback, Port: l.Port()}) || a.Network() != "vsock" {
		t.Errorf("dialled %v, want 1:%d", out.RemoteAddr(), l.Port())
	}
	if _, err := io.WriteString(out, "over"); err != nil {
		t.Error(err)
	}
	half, ok := out.(interface{ CloseWrite() error })
	if !ok {
		t.Fatalf("%T has no CloseWrite", out)
	}
	if err := half.CloseWrite(); err != nil {
		t.Error(err)
	}
	if text, err := io.ReadAll(in); string(text) != "over" || err != nil {
		t.Errorf("got %q, %v; want over", text, err)
	}
	if _, err := io.WriteString(in, "back"); err != nil {
		t.Error(err)
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	if text, err := io.ReadAll(out); string(text) != "back" || err != nil {
		t.Errorf("got %q, %v; want back", text, err)
	}
	if err := errors.Join(out.Close(), out.Close()); err != nil {
		t.Errorf("close twice: %v", err)
	}
	if _, err := out.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after close: got %v, want net.ErrClosed", err)
	}
	if _, err := out.Write(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after close: got %v, want net.ErrClosed", err)
	}
}

func portOf(a net.Addr) uint32 {
	if v, ok := a.(*vsock.Addr); ok {
		return v.Port
	}
	return 0
}

// TestWhatADialTells keeps the table of KERNEL.md on errnos, as far as it goes
// without a guest.
func TestWhatADialTells(t *testing.T) {
	testenv.Require(t, testenv.VhostVsock)
	modes, err := vsock.Modes()
	if err != nil {
		t.Fatal(err)
	}
	held := hold(t, 80)
	silent := error(unix.ETIMEDOUT) // before 7.0 the kernel waits for the guest
	if modes {
		silent = unix.EHOSTUNREACH
	}
	l := listen(t, 0)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		cid  vsock.CID
		port uint32
		want error
	}{
		"nobody has the cid":  {81, 22, unix.ENODEV},
		"no driver yet":       {held.CID(), 22, silent},
		"nobody listens":      {vsock.Loopback, l.Port(), unix.ECONNRESET},
		"nobody's address":    {vsock.Any, 22, unix.ENODEV},
		"hypervisor services": {vsock.Hypervisor, 22, unix.ENODEV},
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := vsock.Dial(ctx, tt.cid, tt.port)
			if err == nil {
				c.Close()
			}
			if _, ok := errors.AsType[*vsock.DialError](err); !ok || !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// TestDialIsBoundedByItsContext needs a kernel that waits for a guest.
func TestDialIsBoundedByItsContext(t *testing.T) {
	testenv.Require(t, testenv.VhostVsock, testenv.NoModes)
	held := hold(t, 82)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := vsock.Dial(ctx, held.CID(), 22); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's end before the kernel's 2 s", err)
	}
}
