package vsock

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

const vsockDevice = "/dev/vsock"

// OwnCID returns the CID that this host has as a guest of another one, or [Any]
// if it is no guest. A host's guests can't have it: the kernel refuses it with
// [ErrInUse] for all namespaces.
//
// It fails with a [*MissingError] where there is no vsock, and with
// [fs.ErrPermission] if /dev/vsock may not be opened.
func OwnCID() (CID, error) {
	c, err := localCID()
	if err != nil {
		return 0, fmt.Errorf("own cid: %w", err)
	}
	// All else means that nobody gave this host a CID.
	if c.Guest() {
		return c, nil
	}
	return Any, nil
}

// localCID asks the kernel for the CID of this side. A guest answers its own, a
// host [Host] with vhost_vsock loaded, [Loopback] with vsock_loopback only, and
// [Any] with neither.
func localCID() (CID, error) {
	if err := load(); err != nil {
		return 0, err
	}
	fd, err := openRetry(vsockDevice, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return 0, vsockOpenError(err)
	}
	defer unix.Close(fd)
	n, err := unix.IoctlGetUint32(fd, unix.IOCTL_VM_SOCKETS_GET_LOCAL_CID)
	if err != nil {
		return 0, fmt.Errorf("ioctl on %s: %w", vsockDevice, err)
	}
	return CID(n), nil
}

// vsockOpenError gives the kernel's answer to opening /dev/vsock its meaning.
func vsockOpenError(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return &MissingError{What: vsockDevice, Need: "the kernel module vsock", Hint: "modprobe vsock"}
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("open %s: %w (try: chmod 0666 %[1]s, as udev's rules do)", vsockDevice, err)
	}
	return fmt.Errorf("open %s: %w", vsockDevice, err)
}
