package links

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	tunDevice   = "/dev/net/tun"
	vhostDevice = "/dev/vhost-net"

	// tapPattern is the kernel's to fill in with the first number that is free.
	tapPattern = "vml%d"
)

// ErrNoBridge says that an interface is there, but no bridge.
var ErrNoBridge = errors.New("is no bridge")

// ErrNoTap says that an interface is there, but no tap that one program can open.
var ErrNoTap = errors.New("is no tap, or one with other options (want: ip tuntap add NAME mode tap vnet_hdr)")

// CreateTap makes a tap on the bridge called bridge, up, and returns it with the
// name it got. It is gone when its last descriptor is closed, whatever ends the
// processes that have them. The caller closes the file. It fails with
// [fs.ErrNotExist] if there is no such bridge, with [ErrNoBridge], with
// [fs.ErrPermission], and with [errors.ErrUnsupported] without /dev/net/tun.
func CreateTap(bridge string) (f *os.File, name string, err error) {
	link, err := find(bridge)
	if err != nil {
		return nil, "", err
	}
	if link.Type() != "bridge" {
		return nil, "", fmt.Errorf("interface %q: %w", bridge, ErrNoBridge)
	}
	f, name, err = openTap(tapPattern)
	if err != nil {
		return nil, "", fmt.Errorf("make tap: %w", err)
	}
	tap, err := find(name)
	if err == nil {
		err = netlink.LinkSetMaster(tap, link)
	}
	if err == nil {
		err = netlink.LinkSetUp(tap)
	}
	if err != nil {
		f.Close()
		return nil, "", fmt.Errorf("put tap %q on bridge %q: %w", name, bridge, meaning(err))
	}
	return f, name, nil
}

// OpenTap opens the tap called name, which somebody else has made and will remove.
// The caller closes it. It fails with [fs.ErrNotExist], with [ErrNoTap], with
// [fs.ErrExist] if a program has it open, and as [CreateTap] does.
func OpenTap(name string) (*os.File, error) {
	link, err := find(name) // or the kernel would make it
	if err != nil {
		return nil, err
	}
	if tap, ok := link.(*netlink.Tuntap); !ok || tap.Mode != netlink.TUNTAP_MODE_TAP {
		return nil, fmt.Errorf("interface %q: %w", name, ErrNoTap)
	}
	f, _, err := openTap(name)
	switch {
	case errors.Is(err, unix.EINVAL):
		err = ErrNoTap
	case errors.Is(err, unix.EBUSY):
		err = fmt.Errorf("%w: a program has it open", fs.ErrExist)
	}
	if err != nil {
		return nil, fmt.Errorf("open tap %q: %w", name, err)
	}
	return f, nil
}

// openTap opens the tap called name, or makes it. It belongs to the namespace in
// which the device is opened: that of this thread.
func openTap(name string) (*os.File, string, error) {
	// Not by package os: with it the descriptor would be in the runtime's poller,
	// and QEMU does not expect one that does not block.
	fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, "", deviceError(tunDevice, err)
	}
	r, err := unix.NewIfreq(name)
	if err == nil {
		r.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, r)
	}
	if err != nil {
		unix.Close(fd)
		return nil, "", meaning(err)
	}
	return os.NewFile(uintptr(fd), tunDevice), r.Name(), nil
}

// OpenVhost opens /dev/vhost-net, by which the kernel itself carries a tap's
// packets. The caller closes it. It fails with [fs.ErrNotExist] on a host without.
func OpenVhost() (*os.File, error) {
	fd, err := unix.Open(vhostDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return nil, fmt.Errorf("open %s: %w", vhostDevice, fs.ErrNotExist)
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", vhostDevice, err)
	}
	return os.NewFile(uintptr(fd), vhostDevice), nil
}

func deviceError(path string, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("open %s: %w (try: modprobe tun)", path, errors.ErrUnsupported)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("open %s: %w (want root)", path, err)
	}
	return fmt.Errorf("open %s: %w", path, err)
}
