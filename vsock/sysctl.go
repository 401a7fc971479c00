package vsock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// The vsock knobs of a network namespace, since Linux 7.0. The kernel resolves
// /proc/sys/net by the thread that opens the file, so these are always the
// knobs of the calling thread's namespace. See vsock_table in
// net/vmw_vsock/af_vsock.c.
const (
	sysctlNet   = "/proc/sys/net"
	sysctlMode  = "/proc/sys/net/vsock/ns_mode"
	sysctlChild = "/proc/sys/net/vsock/child_ns_mode"
)

// ErrLocked says that child_ns_mode was set to the other mode before. The first
// write counts until the namespace dies.
var ErrLocked = errors.New("child_ns_mode is locked to the other mode")

// Modes reports whether this kernel gives network namespaces a vsock mode. It
// looks for the knob, never at the kernel's version: distributions carry the
// feature back. It makes the kernel load vsock first, because the knob comes
// with the module; a kernel that has no vsock has no modes.
//
// It fails if /proc/sys can't be seen or sockets of the family are refused to
// this process.
func Modes() (bool, error) {
	if there, err := knobThere(); there || err != nil {
		return there, err
	}
	if err := load(); err != nil {
		return false, err
	}
	return knobThere()
}

// ModeHere returns the vsock mode of the calling thread's network namespace: as
// of now, and [Global] where the kernel has no modes. It fails as [Modes] does.
func ModeHere() (Mode, error) { return readMode(sysctlMode) }

// ChildMode returns the mode that a network namespace will have which the
// calling thread makes. It fails as [Modes] does.
func ChildMode() (Mode, error) { return readMode(sysctlChild) }

// SetChildMode sets, once and for all, the mode of network namespaces that are
// made from the calling thread's one. Do not call it in a namespace that others
// use: nobody can take it back, not even by writing the default. Only package
// netns calls it, in a namespace that nobody else ever sees.
//
// It fails with [ErrLocked] if the other mode was written before, with
// [fs.ErrPermission] for Global in a local namespace and for users who don't
// own the namespace, and with a [*MissingError] where the kernel has no modes.
func SetChildMode(m Mode) error {
	if m != Global && m != Local {
		return fmt.Errorf("set child_ns_mode: %v: %w", m, ErrBadMode)
	}
	has, err := Modes()
	if err != nil {
		return err
	}
	if !has {
		return NoModes()
	}
	return childModeError(m, write(sysctlChild, m.String()))
}

// NoModes returns the error for a kernel whose namespaces have no vsock modes.
func NoModes() *MissingError {
	return &MissingError{
		What: "vsock modes of network namespaces",
		Need: "Linux 7.0 or later with its vsock module",
		Hint: "the same command with --nest",
	}
}

// childModeError gives the kernel's answer to a write of m its meaning.
func childModeError(m Mode, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("set child_ns_mode to %v: %w", m, &answer{ErrLocked, unix.EBUSY})
	case errors.Is(err, unix.EPERM) && m == Global:
		return fmt.Errorf("set child_ns_mode to %v: %w (children of a local namespace are local)", m, &answer{fs.ErrPermission, unix.EPERM})
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("set child_ns_mode to %v: %w: /proc/sys is read-only, as in most containers (try: mount -o remount,rw /proc/sys)", m, fs.ErrPermission)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("set child_ns_mode to %v: %w (want root, or the owner of the user namespace)", m, err)
	}
	return fmt.Errorf("set child_ns_mode to %v: %w", m, err)
}

// load makes the kernel load the vsock module, which making a socket does and
// opening /dev/vsock does not. A kernel without vsock is no error.
func load() error {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	switch {
	case err == nil:
		return unix.Close(fd)
	case errors.Is(err, unix.EAFNOSUPPORT):
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("load vsock: socket: %w (a seccomp filter of this container or service may refuse AF_VSOCK)", err)
	}
	return fmt.Errorf("load vsock: socket: %w", err)
}

// knobThere reports whether the calling thread's namespace has the mode knob
// now. Where all of /proc/sys/net is missing nothing can be told.
func knobThere() (bool, error) {
	_, err := os.Stat(sysctlMode)
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("look for vsock modes: %w", err)
	}
	if _, err := os.Stat(sysctlNet); err != nil {
		return false, &MissingError{What: sysctlNet, Need: "procfs with its sys folder", Hint: "mount -t proc proc /proc"}
	}
	return false, nil
}

// readMode reads a mode knob of the calling thread's namespace. Without the
// knob there is only the global mode, also when vsock was unloaded just now.
func readMode(path string) (Mode, error) {
	has, err := Modes()
	if err != nil {
		return 0, err
	}
	if !has {
		return Global, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Global, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read vsock mode: %w", err)
	}
	m, err := ParseMode(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	return m, nil
}

// write writes text to a knob in one call, as sysctls want it.
func write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}
