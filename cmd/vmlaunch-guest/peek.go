package main

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// exitedChild returns the pid of a child that has exited and waits to be
// reaped, 0 if there is none, or ECHILD if there are no children at all.
func exitedChild() (int, error) {
	// The kernel's struct siginfo: three ints, padding to 8 bytes, then the
	// union, which for SIGCHLD begins with the pid. See waitid(2).
	var info struct {
		signo, errno, code, _ int32
		pid                   int32
		_                     [108]byte
	}
	for {
		err := unix.Waitid(unix.P_ALL, 0, (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return int(info.pid), err
		}
	}
}
