package netns

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A pin is what stands under a name in /run/netns.
type pin int

const (
	pinNone    pin = iota // nothing
	pinWhole              // a network namespace
	pinHalf               // an empty file: its creator was killed, or is about to mount
	pinLink               // a symbolic link, which leads to a namespace or not
	pinUnknown            // something else, not made by this package nor by iproute2
)

// ipGrace is how young an empty file must be to be taken for an `ip netns add`
// at work, which makes the file first, then the namespace, then the mount: some
// milliseconds, and more on a busy host. Create holds the lock meanwhile and
// never has to be waited for.
const ipGrace = time.Second

// lookAt tells what stands at path.
func lookAt(path string) (pin, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return pinNone, nil
	}
	if err != nil {
		return pinUnknown, err
	}
	if info.Mode().Type() == fs.ModeSymlink {
		return pinLink, nil
	}
	f, err := openFile(path)
	if err == nil {
		return pinWhole, f.Close()
	}
	if !errors.Is(err, errNoNetns) && !errors.Is(err, fs.ErrPermission) {
		return pinUnknown, err
	}
	if info.Mode().IsRegular() && info.Size() == 0 {
		return pinHalf, nil
	}
	return pinUnknown, nil
}

// setPin pins the namespace f at path. The caller has the lock. It fails with
// [fs.ErrExist] if the name is taken, and leaves nothing if it fails.
func setPin(path string, f *os.File) error {
	if err := vacate(path); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	err = errors.Join(file.Close(), bind(f, path))
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// bind mounts the namespace f on path.
func bind(f *os.File, path string) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var merr error
	err = raw.Control(func(fd uintptr) {
		merr = unix.Mount(fmt.Sprintf("/proc/self/fd/%d", fd), path, "", unix.MS_BIND, "")
	})
	if merr != nil {
		merr = fmt.Errorf("mount on %s: %w", path, merr)
	}
	return errors.Join(err, merr)
}

// vacate makes sure that the name at path is free: it removes an empty file that
// a killed creator left. It fails with [fs.ErrExist] if something else is there.
func vacate(path string) error {
	//nolint:forbidigo // a poll with a bound: another program mounts on the file, or does not
	for end := time.Now().Add(ipGrace); ; time.Sleep(ipGrace / 100) {
		p, err := lookAt(path)
		switch {
		case err != nil:
			return err
		case p == pinNone:
			return nil
		case p != pinHalf:
			return errTaken
		case young(path) && time.Now().Before(end):
			continue
		}
		if pid := mountedFor(path); pid != 0 {
			return fmt.Errorf("%w: in the mount namespace of process %d, and nowhere else", errTaken, pid)
		}
		return os.Remove(path)
	}
}

// young reports whether the file at path was made within the last [ipGrace].
func young(path string) bool {
	info, err := os.Lstat(path)
	if err != nil {
		return false
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && time.Since(time.Unix(s.Ctim.Unix())) < ipGrace
}

// mountedFor returns a process in another mount namespace in which something is
// mounted on path, or 0. A namespace that was named inside a service with a private mount
// namespace looks like an empty file to everyone else, and removing that file
// would take it away from the service.
func mountedFor(path string) (pid int) {
	seen := map[inode]bool{}
	if info, err := os.Stat("/proc/self/ns/mnt"); err == nil {
		seen[inodeOf(info)] = true
	}
	for pid := range processes() {
		info, err := os.Stat(fmt.Sprintf("/proc/%d/ns/mnt", pid))
		if err != nil || seen[inodeOf(info)] {
			continue // looked at, or may not be
		}
		seen[inodeOf(info)] = true
		table, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
		if err == nil && bytes.Contains(table, []byte(" "+mountinfoEscape(path)+" ")) {
			return pid
		}
	}
	return 0
}

// mountinfoEscape writes a path as /proc/PID/mountinfo does. See mangle_path.
func mountinfoEscape(path string) string {
	return strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace(path)
}

// unsetPin takes away what is mounted on path, all layers of it, and path. The
// namespace lives on while a process, a socket or a descriptor keeps it.
func unsetPin(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) {
			break // not a mount point, or not any more
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
	err := os.Remove(path)
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%w: it was pinned before %s became a mount of its own (see: findmnt -R /run)", err, runDir)
	}
	return err
}

// namesOf returns the names that lead to the namespace key, sorted.
func namesOf(key inode) []string {
	var names []string
	entries, _ := os.ReadDir(runDir) // without the directory there are no names
	for _, e := range entries {
		info, err := os.Stat(filepath.Join(runDir, e.Name()))
		if err == nil && inodeOf(info) == key {
			names = append(names, e.Name())
		}
	}
	return names
}
