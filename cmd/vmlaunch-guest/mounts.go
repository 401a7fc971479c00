package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A mount is one file system that a Linux system is expected to have.
type mount struct {
	fstype, target string
	source         string // the type's name where it has none
	flags          uintptr
	data           string
	needed         bool // without it the agent can't do its work
}

// mounts returns the file systems of a booted system, in mount order.
func mounts() []mount {
	const quiet = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV
	return []mount{
		{fstype: "proc", target: "/proc", flags: quiet, needed: true},
		{fstype: "sysfs", target: "/sys", flags: quiet},
		{fstype: "devtmpfs", target: "/dev", flags: unix.MS_NOSUID, data: "mode=0755", needed: true},
		{fstype: "devpts", target: "/dev/pts", flags: unix.MS_NOSUID | unix.MS_NOEXEC, data: "gid=5,mode=620,ptmxmode=666"},
		{fstype: "tmpfs", target: "/dev/shm", flags: unix.MS_NOSUID | unix.MS_NODEV, data: "mode=1777"},
		{fstype: "tmpfs", target: "/run", flags: unix.MS_NOSUID | unix.MS_NODEV, data: "mode=0755"},
		{fstype: "tmpfs", target: "/tmp", flags: unix.MS_NOSUID | unix.MS_NODEV, data: "mode=1777"},
		{fstype: "cgroup2", target: "/sys/fs/cgroup", flags: quiet},
	}
}

// mountAll mounts what the kernel has. A kernel that lacks a file system that
// is not needed (ENODEV), or has no place for it, gets by without; what is
// mounted already stays.
func mountAll(con console, table []mount) error {
	for _, m := range table {
		err := m.mount()
		switch {
		case err == nil:
		case m.needed:
			return err
		case !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.ENOENT):
			con.printf("%v", err)
		}
	}
	return nil
}

func (m mount) mount() error {
	if err := os.MkdirAll(m.target, 0o755); err != nil && !errors.Is(err, unix.EPERM) { // sysfs allows none
		return fmt.Errorf("mount %s: %w", m.target, err)
	}
	source, there := m.source, error(nil)
	if source == "" {
		source, there = m.fstype, unix.EBUSY // is mounted already
	}
	err := unix.Mount(source, m.target, m.fstype, m.flags, m.data)
	if err != nil && !errors.Is(err, there) {
		return fmt.Errorf("mount %s on %s: %w", source, m.target, err)
	}
	return nil
}

// linkStreams makes the names under /dev that programs expect and devtmpfs
// does not have. A name that is there already stays.
func linkStreams() {
	for name, target := range map[string]string{
		"/dev/fd":     "/proc/self/fd",
		"/dev/stdin":  "/proc/self/fd/0",
		"/dev/stdout": "/proc/self/fd/1",
		"/dev/stderr": "/proc/self/fd/2",
	} {
		_ = os.Symlink(target, name) // a convenience for shell scripts
	}
}
