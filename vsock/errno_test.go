package vsock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestErrnoOfOpen asks that every way in which the device can refuse to open
// keeps its kind and tells a way out, and that none passes for a taken CID.
func TestErrnoOfOpen(t *testing.T) {
	tests := map[syscall.Errno]struct {
		is   error
		says string
	}{
		unix.ENOENT:  {errors.ErrUnsupported, "no /dev/vhost-vsock: needs the kernel module vhost_vsock (try: modprobe vhost_vsock)"},
		unix.ENODEV:  {errors.ErrUnsupported, "no driver behind /dev/vhost-vsock"},
		unix.ENXIO:   {errors.ErrUnsupported, "modprobe vhost_vsock"},
		unix.EISDIR:  {errors.ErrUnsupported, "no vhost-vsock device at /dev/vhost-vsock"},
		unix.ENOTTY:  {errors.ErrUnsupported, "no vhost-vsock device at /dev/vhost-vsock"},
		unix.EACCES:  {fs.ErrPermission, "permission denied (try: as root, or in the group that owns it, often kvm)"},
		unix.EPERM:   {fs.ErrPermission, "--device /dev/vhost-vsock"},
		unix.EBUSY:   {unix.EBUSY, "another driver"},
		unix.EMFILE:  {unix.EMFILE, "try: ulimit -n"},
		unix.ENFILE:  {unix.ENFILE, "try: sysctl fs.file-max"},
		unix.ENOMEM:  {unix.ENOMEM, "no memory for one more device"},
		unix.ENOTSUP: {unix.ENOTSUP, "open /dev/vhost-vsock: operation not supported"},
	}
	for errno, tt := range tests {
		err := fmt.Errorf("hold cid 42: %w", vhostOpenError(errno))
		if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got %q, want %q in it and errors.Is %v", unix.ErrnoName(errno), err, tt.says, tt.is)
		}
		if errors.Is(err, ErrInUse) || errors.Is(err, ErrBadCID) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %q passes for an answer about the cid or a machine", unix.ErrnoName(errno), err)
		}
	}
}

func TestErrnoOfClaim(t *testing.T) {
	for errno, want := range map[syscall.Errno]error{
		unix.EADDRINUSE: ErrInUse,
		unix.EINVAL:     ErrBadCID,
		unix.ENOTTY:     errors.ErrUnsupported,
		unix.EPERM:      fs.ErrPermission,
		unix.EIO:        unix.EIO,
	} {
		err := claimError(42, errno)
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", unix.ErrnoName(errno), err, want)
		}
		if errors.Is(err, ErrInUse) != (errno == unix.EADDRINUSE) {
			t.Errorf("%s: ErrInUse is %v", unix.ErrnoName(errno), errors.Is(err, ErrInUse))
		}
	}
}

// TestErrnoOfAsking gives every errno that a connection just begun can end with
// its meaning: a CID is claimed, it is not, or nothing was told.
func TestErrnoOfAsking(t *testing.T) {
	for errno, want := range map[syscall.Errno]bool{
		unix.ENODEV: false, unix.EINPROGRESS: true, unix.EHOSTUNREACH: true, unix.ECONNRESET: true, 0: true,
	} {
		var answer error
		if errno != 0 {
			answer = errno
		}
		if got, err := dialAnswer(answer); got != want || err != nil {
			t.Errorf("%s: got %v, %v, want %v", unix.ErrnoName(errno), got, err, want)
		}
	}
	for errno, want := range map[syscall.Errno]error{
		unix.EAFNOSUPPORT: errors.ErrUnsupported, unix.ENETUNREACH: errors.ErrUnsupported, unix.ESOCKTNOSUPPORT: errors.ErrUnsupported,
		unix.EACCES: fs.ErrPermission, unix.EPERM: fs.ErrPermission, unix.EMFILE: unix.EMFILE, unix.ENOMEM: unix.ENOMEM,
		unix.ETIMEDOUT: unix.ETIMEDOUT, unix.EADDRNOTAVAIL: unix.EADDRNOTAVAIL, unix.EADDRINUSE: unix.EADDRINUSE,
	} {
		claimed, err := dialAnswer(errno)
		if claimed || !errors.Is(err, want) || errors.Is(err, ErrInUse) {
			t.Errorf("%s: got %v, %v, want %v and no answer", unix.ErrnoName(errno), claimed, err, want)
		}
	}
}

func TestErrnoOfChildMode(t *testing.T) {
	tests := []struct {
		errno syscall.Errno
		mode  Mode
		is    error
		says  string
	}{
		{unix.EBUSY, Local, ErrLocked, "set child_ns_mode to local: child_ns_mode is locked to the other mode"},
		{unix.EPERM, Global, fs.ErrPermission, "children of a local namespace are local"},
		{unix.EPERM, Local, fs.ErrPermission, "want root"},
		{unix.EACCES, Local, fs.ErrPermission, "want root"},
		{unix.EROFS, Local, fs.ErrPermission, "/proc/sys is read-only"},
		{unix.EIO, Local, unix.EIO, "input/output error"},
	}
	for _, tt := range tests {
		err := childModeError(tt.mode, &os.PathError{Op: "write", Path: sysctlChild, Err: tt.errno})
		if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s for %v: got %q, want %q in it and errors.Is %v", unix.ErrnoName(tt.errno), tt.mode, err, tt.says, tt.is)
		}
	}
	if err := childModeError(Local, nil); err != nil {
		t.Errorf("no error: got %v, want nil", err)
	}
}

func TestErrnoOfListen(t *testing.T) {
	tests := []struct {
		errno syscall.Errno
		port  uint32
		is    error
		says  string
	}{
		{unix.EADDRINUSE, 5000, unix.EADDRINUSE, "all global namespaces share their ports"},
		{unix.EACCES, 22, fs.ErrPermission, "CAP_NET_BIND_SERVICE"},
		{unix.EACCES, 5000, fs.ErrPermission, "listen on vsock port 5000: permission denied"},
		{unix.EAFNOSUPPORT, 0, errors.ErrUnsupported, "no vsock: needs the kernel module vsock (try: modprobe vsock)"},
		{unix.EADDRNOTAVAIL, 0, unix.EADDRNOTAVAIL, "listen on vsock port 0: cannot assign"},
	}
	for _, tt := range tests {
		err := listenError(tt.port, &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", tt.errno)})
		if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s on %d: got %q, want %q in it and errors.Is %v", unix.ErrnoName(tt.errno), tt.port, err, tt.says, tt.is)
		}
	}
}

func TestErrnoOfDial(t *testing.T) {
	tests := map[syscall.Errno]string{
		unix.ENODEV:          "no machine has this cid as seen from this namespace",
		unix.EHOSTUNREACH:    "the cid is held, but the guest's vsock driver is not up",
		unix.ETIMEDOUT:       "the guest did not answer",
		unix.ECONNRESET:      "nothing listens on this port",
		unix.EADDRNOTAVAIL:   "not this side's",
		unix.ENETUNREACH:     "no vsock transport leads there",
		unix.ESOCKTNOSUPPORT: "no vsock transport leads there",
		unix.EAFNOSUPPORT:    "no vsock (try: modprobe vsock)",
		unix.EINVAL:          "not an address",
		unix.EPERM:           "seccomp",
		unix.EMFILE:          "ulimit -n",
		unix.EIO:             "dial vsock 42:22: input/output error",
	}
	for errno, says := range tests {
		err := dialError(t.Context(), 42, 22, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", errno)})
		d, ok := errors.AsType[*DialError](err)
		if !ok || d.CID != 42 || d.Port != 22 || !errors.Is(err, errno) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %#v %q, want a DialError with %q", unix.ErrnoName(errno), err, err, says)
			continue
		}
		if got, want := d.Timeout(), errno == unix.ETIMEDOUT; got != want {
			t.Errorf("%s: Timeout is %v, want %v", unix.ErrnoName(errno), got, want)
		}
	}
}

// TestDialEndsWithContext asks that the end of the context is told from the
// kernel's answers, whichever way it reaches us.
func TestDialEndsWithContext(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	tests := map[string]struct {
		ctx   context.Context
		cause error
		want  error
	}{
		"cancelled":         {gone, os.NewSyscallError("connect", context.Canceled), context.Canceled},
		"cancelled by poll": {gone, os.ErrDeadlineExceeded, context.Canceled},
		"deadline by poll":  {t.Context(), os.ErrDeadlineExceeded, context.DeadlineExceeded},
		"closed":            {t.Context(), fs.ErrClosed, net.ErrClosed},
		"errno came first":  {gone, unix.ECONNRESET, unix.ECONNRESET},
	}
	for name, tt := range tests {
		err := dialError(tt.ctx, 42, 22, &net.OpError{Op: "dial", Err: tt.cause})
		if !errors.Is(err, tt.want) || !strings.HasPrefix(err.Error(), "dial vsock 42:22: ") {
			t.Errorf("%s: got %q, want %v", name, err, tt.want)
		}
	}
	if _, err := Dial(gone, 42, 22); !errors.Is(err, context.Canceled) {
		t.Errorf("dial with a cancelled context: got %v, want context.Canceled", err)
	}
}

func TestHoldRefusesReservedNumbersItself(t *testing.T) {
	for _, c := range []CID{Hypervisor, Loopback, Host, Any} {
		g, err := Hold(c)
		if g != nil || !errors.Is(err, ErrBadCID) {
			t.Errorf("Hold(%v) = %v, %v; want ErrBadCID", c, g, err)
		}
	}
}

func TestNoModesSaysWhatToDo(t *testing.T) {
	want := "no vsock modes of network namespaces: needs Linux 7.0 or later with its vsock module (try: the same command with --nest)"
	if err := error(NoModes()); err.Error() != want || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got %q, want %q, unsupported", err, want)
	}
}
