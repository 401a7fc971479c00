package fakeqemu

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
)

// listen opens the listening end of a socket chardev, as QEMU does: also a
// descriptor that listens already is given a queue of one, and the path is
// removed at an orderly exit.
func listen(g group) (*net.UnixListener, error) {
	switch {
	case g[""] != "socket":
		return nil, fmt.Errorf("'%s' is not a valid char driver", g[""])
	case g["server"] != "on" || g["wait"] != "off":
		return nil, errors.New("only server=on,wait=off is faked")
	}
	l, err := open(g)
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(true)
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, err
	}
	var lerr error
	err = raw.Control(func(fd uintptr) { lerr = syscall.Listen(int(fd), 1) })
	return l, errors.Join(err, lerr)
}

func open(g group) (*net.UnixListener, error) {
	if path := g["path"]; path != "" {
		return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	}
	n, err := strconv.Atoi(g["fd"])
	if err != nil {
		return nil, errors.New("needs a path or an fd")
	}
	f := os.NewFile(uintptr(n), "fd "+g["fd"])
	defer f.Close() // FileListener has its own
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("File descriptor '%d' is not a socket", n)
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.New("only Unix sockets are faked")
	}
	return u, nil
}
