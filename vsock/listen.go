package vsock

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"

	mdvsock "github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"
)

var _ net.Listener = (*Listener)(nil)

// A Listener accepts vsock connections from guests, and from this side by
// loopback. It belongs to the network namespace whose thread called [Listen].
// Its methods may be called from any goroutine.
type Listener struct{ l *mdvsock.Listener }

// Listen listens on a port in the network namespace of the calling thread, on
// every CID this side has. Port 0 lets the kernel choose one. The caller closes
// the Listener.
//
// Ports are shared as CIDs are: among all global namespaces, and within a local
// one. Listen fails with EADDRINUSE if the port is taken, with
// [fs.ErrPermission] for a port below 1024 without CAP_NET_BIND_SERVICE, and
// with a [*MissingError] where there is no vsock.
func Listen(port uint32) (*Listener, error) {
	l, err := open(port)
	if err != nil {
		return nil, listenError(port, err)
	}
	return &Listener{l}, nil
}

// backlog is how many connections may wait to be accepted. A guest's kernel resets what
// comes beyond it, where TCP would have its peer try again, so a thousand at once need
// more than the library's 128. See virtio_transport_recv_listen of Linux.
const backlog = 4096

// open makes the socket.
func open(port uint32) (*mdvsock.Listener, error) {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if port == 0 {
		port = unix.VMADDR_PORT_ANY
	}
	err = unix.Bind(fd, &unix.SockaddrVM{CID: uint32(Any), Port: port})
	if err == nil {
		err = unix.Listen(fd, backlog)
	}
	f := os.NewFile(uintptr(fd), "vsock")
	defer f.Close() // FileListener makes a copy
	if err != nil {
		return nil, err
	}
	return mdvsock.FileListener(f)
}

// listenError gives the kernel's answer to bind and listen its meaning.
func listenError(port uint32, err error) error {
	errno, ok := errors.AsType[unix.Errno](err)
	if !ok {
		return fmt.Errorf("listen on vsock port %d: %w", port, err)
	}
	switch {
	case errno == unix.EAFNOSUPPORT:
		return &MissingError{What: "vsock", Need: "the kernel module vsock", Hint: "modprobe vsock"}
	case errno == unix.EADDRINUSE:
		return fmt.Errorf("listen on vsock port %d: %w (all global namespaces share their ports)", port, errno)
	case errors.Is(errno, fs.ErrPermission) && port > 0 && port < 1024:
		return fmt.Errorf("listen on vsock port %d: %w (ports below 1024 want CAP_NET_BIND_SERVICE)", port, errno)
	}
	return fmt.Errorf("listen on vsock port %d: %w", port, errno)
}

// Accept waits for the next connection. Its RemoteAddr is an [*Addr] with the
// CID and port of the other side. It ends with [net.ErrClosed] after Close and
// with [os.ErrDeadlineExceeded] after the deadline.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.l.Accept()
	if err != nil {
		return nil, endError(err)
	}
	raw, ok := c.(*mdvsock.Conn)
	if !ok { // the library promises it
		return nil, errors.Join(fmt.Errorf("accept on vsock port %d: got a %T", l.Port(), c), c.Close())
	}
	return ours(raw), nil
}

// Addr returns an [*Addr] with [Any] and the port.
func (l *Listener) Addr() net.Addr { return addrOf(l.l.Addr()) }

// Port returns the port, the chosen one if [Listen] was called with 0.
func (l *Listener) Port() uint32 { return addrOf(l.l.Addr()).Port }

// SetDeadline ends a waiting Accept, and later ones, at t. The zero time waits
// without end.
func (l *Listener) SetDeadline(t time.Time) error { return l.l.SetDeadline(t) }

// Close stops listening and ends a waiting Accept. Accepted connections stay.
// Closing twice is fine.
func (l *Listener) Close() error {
	if err := endError(l.l.Close()); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
