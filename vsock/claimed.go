package vsock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// sysctlFallback lets a guest's connections to a CID that nobody on this host has
// go to the outer host. Only kernels with the knob do that, since Linux 7.2.
const sysctlFallback = "/proc/sys/net/vsock/g2h_fallback"

// portAny is VMADDR_PORT_ANY: binding to it means "any free port", so no socket
// of any guest can listen there.
const portAny = 1<<32 - 1

// Claimed asks the kernel whether somebody on this host has c, as seen from the
// network namespace of the calling thread, and claims nothing: it begins a
// connection to c and drops it at once. The kernel looks for the machine by the
// same rule as for a claim (vhost_vsock_get in drivers/vhost/vsock.c). A guest
// that runs sees one connection request to port 4294967295, to which nothing can
// listen, and answers it with a reset.
//
// On a host that is itself a guest and passes on connections to CIDs that nobody
// has (g2h_fallback), that would tell nothing and bother others. There, and where
// it can't be told, Claimed claims c and lets go of it: the claim of somebody
// else may be refused meanwhile.
//
// It fails with [ErrBadCID] if no guest may have c, with a [*MissingError] if the
// device does not work, and with [fs.ErrPermission].
func Claimed(c CID) (bool, error) {
	claimed, err := claimed(c)
	if err != nil {
		return false, fmt.Errorf("ask for cid %d: %w", c, err)
	}
	return claimed, nil
}

func claimed(c CID) (bool, error) {
	if !c.Guest() {
		return false, fmt.Errorf("%w (want %d to %d)", ErrBadCID, FirstGuest, LastGuest)
	}
	switch own, err := localCID(); {
	case errors.Is(err, fs.ErrPermission): // of /dev/vsock: whether this host is a guest is not known
		return claimable(c)
	case err != nil:
		return false, err
	case own == c:
		return true, nil
	case own.Guest() && fallsBack():
		return claimable(c)
	case own != Host:
		// Perhaps there is no transport to guests yet. Opening the device makes the
		// kernel load it, as a claim would.
		if err := Usable(); err != nil {
			return false, err
		}
	}
	return dialled(c)
}

// Usable returns nil if this process can open the device that CIDs are claimed
// with, and fails as [Hold] does otherwise. It claims nothing.
func Usable() error {
	fd, err := openRetry(vhostDevice, unix.O_RDWR|unix.O_CLOEXEC)
	if err != nil {
		return vhostOpenError(err)
	}
	return unix.Close(fd)
}

// fallsBack reports whether a connection from here to a CID that nobody has may
// go to the outer host. A knob that can't be read is taken for one that is on.
func fallsBack() bool {
	text, err := os.ReadFile(sysctlFallback)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	return err != nil || strings.TrimSpace(string(text)) != "0"
}

// claimable is Claimed by way of a claim.
func claimable(c CID) (bool, error) {
	g, err := Hold(c)
	if errors.Is(err, ErrInUse) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return false, g.Close()
}

// dialled is Claimed by way of a connection.
func dialled(c CID) (bool, error) {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return false, askError("socket", err)
	}
	// A connection under way outlives its socket until it times out, by default
	// after 2 s, and keeps the modules in use (vsock_connect in af_vsock.c).
	soon := unix.Timeval{Usec: 1}
	if err := unix.SetsockoptTimeval(fd, unix.AF_VSOCK, unix.SO_VM_SOCKETS_CONNECT_TIMEOUT, &soon); err != nil {
		return false, errors.Join(askError("setsockopt", err), unix.Close(fd))
	}
	asked, err := dialAnswer(unix.Connect(fd, &unix.SockaddrVM{CID: uint32(c), Port: portAny}))
	return asked, errors.Join(err, unix.Close(fd))
}

// dialAnswer tells what a connection that was just begun says of its CID.
func dialAnswer(err error) (claimed bool, _ error) {
	switch {
	case errors.Is(err, unix.ENODEV):
		return false, nil
	case err == nil,
		errors.Is(err, unix.EINPROGRESS),  // the request is on its way to a device
		errors.Is(err, unix.EHOSTUNREACH), // its guest is not up, or QEMU is stopped: Linux 7.0 and later
		errors.Is(err, unix.ECONNRESET):   // its guest has refused already
		return true, nil
	}
	return false, askError("connect", err)
}

// askError gives an answer that tells nothing about a CID its meaning.
func askError(call string, err error) error {
	switch {
	case errors.Is(err, unix.EAFNOSUPPORT):
		return &MissingError{What: "vsock", Need: "the kernel module vsock", Hint: "modprobe vsock"}
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.ESOCKTNOSUPPORT):
		return &MissingError{What: "vsock transport to guests", Need: "the kernel module vhost_vsock", Hint: "modprobe vhost_vsock"}
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: %w (a seccomp filter of this container or service may refuse AF_VSOCK)", call, err)
	case errors.Is(err, unix.EMFILE):
		return fmt.Errorf("%s: %w in this process (try: ulimit -n)", call, err)
	}
	return fmt.Errorf("%s: %w", call, err)
}
