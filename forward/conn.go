package forward

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// A Conn is a connection whose two directions end apart. *net.TCPConn,
// *net.UnixConn, the connections of package vsock and SSH channels are ones.
type Conn interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// Reset closes c in the way that tells the other side of a failure, where its
// network has one: TCP's RST. It takes what is not sent yet with it.
func Reset(c Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // it may be gone
	}
	_ = c.Close()
}

// A Leg is a connection between two relays, as one over vsock, which knows no
// reset: a relay closes such a connection before its time instead. Leg tells
// that from an orderly end. Methods may be called from any goroutine.
type Leg struct {
	Conn
	raw syscall.RawConn
}

// NewLeg takes conn over. It fails if conn is not a socket.
func NewLeg(conn Conn) (*Leg, error) {
	raw := rawOf(conn)
	if raw == nil {
		return nil, errors.New("a leg between relays has to be a socket")
	}
	return &Leg{Conn: conn, raw: raw}, nil
}

// SyscallConn returns the socket. It never fails.
func (l *Leg) SyscallConn() (syscall.RawConn, error) { return l.raw, nil }

// ended returns ECONNRESET if the other side has closed the connection altogether
// although it could have gone on to read, and nil if it has only ended its own
// direction. It is asked at the end of what the other side sends.
//
// A send of nothing tells: it fails with EPIPE if nobody over there will read any
// more, see vsock_connectible_sendmsg in net/vmw_vsock/af_vsock.c.
func (l *Leg) ended() error {
	var serr error
	err := l.raw.Control(func(fd uintptr) {
		_, serr = sendNothing(int(fd))
	})
	if err != nil || serr == nil || errors.Is(serr, syscall.EAGAIN) {
		return nil // closed by ourselves, or open
	}
	return syscall.ECONNRESET
}

// rawOf returns the socket of c, or nil if it is none.
func rawOf(c Conn) syscall.RawConn {
	s, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}
