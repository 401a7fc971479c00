package vsock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"

	mdvsock "github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"
)

// A DialError is the kernel's refusal of a connection. It unwraps to the errno,
// which errors.Is finds; its text says what that tells about the other side.
type DialError struct {
	CID   CID
	Port  uint32
	Errno syscall.Errno
}

func (e *DialError) Error() string {
	text := fmt.Sprintf("dial vsock %d:%d: %v", e.CID, e.Port, e.Errno)
	if m := dialMeaning(e.Errno); m != "" {
		text += " (" + m + ")"
	}
	return text
}

func (e *DialError) Unwrap() error { return e.Errno }

// Timeout reports whether waiting longer or trying again may help: the guest
// did not answer in time.
func (e *DialError) Timeout() bool { return e.Errno.Timeout() }

// dialMeaning says what a refused connection tells. Each was seen on 6.12, 7.2
// and 7.3; see docs/KERNEL.md.
func dialMeaning(errno syscall.Errno) string {
	switch errno {
	case unix.ENODEV:
		return "no machine has this cid as seen from this namespace, or vhost_vsock is not loaded"
	case unix.EHOSTUNREACH:
		return "the cid is held, but the guest's vsock driver is not up, or QEMU is stopped"
	case unix.ETIMEDOUT:
		return "the guest did not answer: its vsock driver is not up, or QEMU is stopped"
	case unix.ECONNRESET:
		return "nothing listens on this port over there"
	case unix.EADDRNOTAVAIL:
		return "the socket is bound to a cid that is not this side's"
	case unix.ENETUNREACH, unix.ESOCKTNOSUPPORT:
		return "no vsock transport leads there (try: modprobe vhost_vsock vsock_loopback)"
	case unix.EAFNOSUPPORT:
		return "this kernel has no vsock (try: modprobe vsock)"
	case unix.EINVAL:
		return "not an address that can be dialled"
	case unix.EACCES, unix.EPERM:
		return "refused to this process; a seccomp filter may forbid AF_VSOCK"
	case unix.EMFILE:
		return "try: ulimit -n"
	}
	return ""
}

// Dial connects to a port of c, from the network namespace of the calling
// thread: only the socket is made there, waiting may happen anywhere. The
// caller closes the connection. It also has CloseWrite, and its addresses are
// of type [*Addr].
//
// The end of ctx ends the attempt with ctx's error. Without that the kernel
// ends it with ETIMEDOUT after 2 seconds; wait longer by dialling again. All
// other failures are a [*DialError].
//
// Where the host is itself a guest, a CID that nobody here has may be looked
// for on the outer host (g2h_fallback): that it connected does not prove which
// machine answered.
func Dial(ctx context.Context, c CID, port uint32) (net.Conn, error) {
	raw, err := mdvsock.DialContext(ctx, uint32(c), port, nil)
	if err != nil {
		return nil, dialError(ctx, c, port, err)
	}
	return ours(raw), nil
}

// dialError tells the kernel's answer from the end of ctx.
func dialError(ctx context.Context, c CID, port uint32, err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return &DialError{CID: c, Port: port, Errno: errno}
	}
	cause := err
	switch {
	case ctx.Err() != nil:
		cause = ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded):
		cause = context.DeadlineExceeded
	case errors.Is(err, fs.ErrClosed):
		cause = net.ErrClosed
	}
	return fmt.Errorf("dial vsock %d:%d: %w", c, port, cause)
}
