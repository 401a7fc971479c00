package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// A console is where PID 1 says what it does: one line a message, each with
// the program's name before it. It is safe for concurrent use.
type console struct{ w io.Writer }

func (c console) printf(format string, args ...any) {
	fmt.Fprintf(c.w, "vmlaunch-guest: "+format+"\n", args...) // a broken console leaves nobody to tell
}

// openConsole makes /dev/console the standard streams. The kernel did so
// before it started PID 1, unless the initramfs has no such node; devtmpfs has.
func openConsole() console {
	fd, err := unix.Open("/dev/console", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err == nil {
		for std := range 3 {
			_ = unix.Dup3(fd, std, 0) // the old stream stays, which is no worse than before
		}
		_ = unix.Close(fd)
	}
	return console{os.Stderr}
}
