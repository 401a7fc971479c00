package vsock

import (
	"errors"
	"fmt"
	"io"
	"net"

	mdvsock "github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"
)

// An Addr is one end of a vsock connection.
type Addr struct {
	CID  CID
	Port uint32
}

// Network returns "vsock".
func (a *Addr) Network() string { return "vsock" }

// String returns CID:PORT in decimal.
func (a *Addr) String() string { return fmt.Sprintf("%d:%d", a.CID, a.Port) }

// conn is a connection whose ends are told as [*Addr] and whose end is told as
// by all of package net. It also has CloseRead, CloseWrite and SyscallConn.
type conn struct {
	*mdvsock.Conn
	local, remote *Addr
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	return n, endError(err)
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	return n, endError(err)
}

// Close closes the connection. Closing twice is fine.
func (c *conn) Close() error {
	if err := endError(c.Conn.Close()); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// endError tells a closed descriptor as [net.ErrClosed] and a connection that
// is no more as [io.EOF]. The library means to, but it looks for the bare errno
// where it gets a wrapped one (v1.4.0, opError in vsock.go).
func endError(err error) error {
	switch {
	case errors.Is(err, unix.EBADF):
		return net.ErrClosed
	case errors.Is(err, unix.ENOTCONN):
		return io.EOF
	}
	return err
}

// ours turns a connection of the library into one of this package.
func ours(c *mdvsock.Conn) *conn {
	return &conn{Conn: c, local: addrOf(c.LocalAddr()), remote: addrOf(c.RemoteAddr())}
}

func addrOf(a net.Addr) *Addr {
	if v, ok := a.(*mdvsock.Addr); ok {
		return &Addr{CID: CID(v.ContextID), Port: v.Port}
	}
	return &Addr{CID: Any, Port: 0}
}
