package vsock

import (
	"fmt"
	"net"

	mdvsock "github.com/mdlayher/vsock"
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

// conn is a connection whose ends are told as [*Addr]. It also has CloseRead,
// CloseWrite and SyscallConn.
type conn struct {
	*mdvsock.Conn
	local, remote *Addr
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

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
