package e2e

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctlPtr is ioctl(2) with a number behind a pointer, for which x/sys has no form.
func ioctlPtr(fd int, request uintptr, value *uint64) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(value))); errno != 0 {
		return errno
	}
	return nil
}
