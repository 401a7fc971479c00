package vsock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const vhostDevice = "/dev/vhost-vsock"

// setGuestCID is VHOST_VSOCK_SET_GUEST_CID of include/uapi/linux/vhost.h,
// _IOW(0xAF, 0x60, __u64), since Linux 4.8.
const setGuestCID = 0x4008af60

// ErrInUse says that the kernel refused a CID because it is taken in the space
// of the namespace: by another guest, or by this host, which may be a guest.
var ErrInUse = errors.New("already in use")

// A Guard is an open /dev/vhost-vsock that holds one CID, in the network
// namespace whose thread called [Hold]. The CID stays held as long as any copy
// of the descriptor is open: QEMU inherits one and goes on holding it. Close
// frees this process's copy, and so does the garbage collector when a Guard is
// forgotten: keep it for as long as the CID is wanted.
//
// Its methods may be called from any goroutine.
type Guard struct {
	cid CID
	f   *os.File
}

// Hold claims c in the network namespace of the calling thread, at once and
// without QEMU. The caller closes the Guard.
//
// It fails with [ErrInUse] if c is taken in the namespace's space, with
// [ErrBadCID] if no guest may have c, with a [*MissingError] without a device
// that works, and with [fs.ErrPermission] if it may not be opened. Only
// ErrInUse tells anything about another number.
//
// A claim costs little, a close walks all connected vsock sockets of the host:
// do not open, try and close in loops. The claim never makes this process the
// owner of the device (VHOST_SET_OWNER), which would keep QEMU from using it.
func Hold(c CID) (*Guard, error) {
	if !c.Guest() {
		return nil, fmt.Errorf("hold cid %d: %w (want %d to %d)", c, ErrBadCID, FirstGuest, LastGuest)
	}
	// Not os.OpenFile: it would make the file non-blocking, for QEMU too, with
	// which it is shared.
	fd, err := openRetry(vhostDevice, unix.O_RDWR|unix.O_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("hold cid %d: %w", c, vhostOpenError(err))
	}
	g := &Guard{cid: c, f: os.NewFile(uintptr(fd), vhostDevice)}
	if err := claim(fd, c); err != nil {
		_ = g.Close() // nothing was written, the claim's error matters
		return nil, fmt.Errorf("hold cid %d: %w", c, claimError(c, err))
	}
	return g, nil
}

// CID returns the CID that g was made for.
func (g *Guard) CID() CID { return g.cid }

// File returns the descriptor, to be passed on to QEMU. It stays g's: the
// caller must not close it, and it is of no use after g.Close.
func (g *Guard) File() *os.File { return g.f }

// Close closes this process's descriptor. The CID is free when no other copy is
// open; after the death of a process that had one, that takes the kernel up to
// a few hundred milliseconds. Closing twice is fine.
func (g *Guard) Close() error {
	if err := g.f.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
		return err
	}
	return nil
}

// claim sets the guest's CID. The namespace is that of the thread which opened
// fd, not the calling one's. See vhost_vsock_set_cid in drivers/vhost/vsock.c.
func claim(fd int, c CID) error {
	arg := uint64(c)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), setGuestCID, uintptr(unsafe.Pointer(&arg)))
	if errno != 0 {
		return errno
	}
	return nil
}

// vhostOpenError gives the kernel's answer to opening /dev/vhost-vsock its
// meaning and a way out.
func vhostOpenError(err error) error {
	module := &MissingError{What: vhostDevice, Need: "the kernel module vhost_vsock", Hint: "modprobe vhost_vsock"}
	switch {
	case errors.Is(err, unix.ENOENT):
		return module
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		// udev makes the node at boot; opening it loads the module, if it can.
		module.What = "driver behind " + vhostDevice
		return module
	case errors.Is(err, unix.EISDIR), errors.Is(err, unix.ENOTTY), errors.Is(err, unix.ENOTDIR):
		return &MissingError{What: "vhost-vsock device at " + vhostDevice, Hint: "rm -r " + vhostDevice + "; modprobe vhost_vsock"}
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("open %s: %w (try: as root, or in the group that owns it, often kvm)", vhostDevice, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("open %s: %w (a container needs the device allowed, as by --device %[1]s)", vhostDevice, err)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("open %s: %w (another driver keeps the device for itself)", vhostDevice, err)
	case errors.Is(err, unix.EMFILE):
		return fmt.Errorf("open %s: %w in this process (try: ulimit -n)", vhostDevice, err)
	case errors.Is(err, unix.ENFILE):
		return fmt.Errorf("open %s: %w (try: sysctl fs.file-max)", vhostDevice, err)
	case errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("open %s: %w (the kernel has no memory for one more device)", vhostDevice, err)
	}
	return fmt.Errorf("open %s: %w", vhostDevice, err)
}

// claimError gives the kernel's answer to a claim of c its meaning.
func claimError(c CID, err error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		if own, ownErr := OwnCID(); ownErr == nil && own == c {
			return &answer{fmt.Errorf("%w: it is this host's own, which is a guest itself", ErrInUse), unix.EADDRINUSE}
		}
		return &answer{ErrInUse, unix.EADDRINUSE}
	case errors.Is(err, unix.EINVAL):
		return &answer{fmt.Errorf("%w: the kernel refuses it", ErrBadCID), unix.EINVAL}
	case errors.Is(err, unix.ENOTTY):
		return vhostOpenError(err)
	}
	return err
}

// openRetry opens path, again if a signal came in between.
func openRetry(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}
