package command

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// pollEither waits until file or wake has something to read, or has ended, and
// reports whether it is file and not wake. It fails as poll(2) does.
func pollEither(file, wake *os.File) (bool, error) {
	fds := []unix.PollFd{
		{Fd: int32(file.Fd()), Events: unix.POLLIN},
		{Fd: int32(wake.Fd()), Events: unix.POLLIN},
	}
	for {
		_, err := unix.Poll(fds, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return fds[1].Revents == 0 && fds[0].Revents != 0, err
	}
}
