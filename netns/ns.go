package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vmlaunch/vmlaunch/vsock"
	"golang.org/x/sys/unix"
)

// An NS is an open network namespace. It lives at least as long as it is open.
// Its methods may be called from any goroutine.
type NS struct {
	f   *os.File
	key inode
	ref string
	id  ID
}

// An inode tells apart namespaces that exist at the same time. It is no
// identity beyond that.
type inode struct{ dev, ino uint64 }

// Open opens a network namespace:
//
//	""      the one this process started in
//	NAME    a pin under /run/netns, whoever made it
//	pid:N   the one process N is in, as of now
//	container:NAME
//	        the one that container is in, as of now: podman, docker or nerdctl is
//	        asked, or the one that stands before the name, as in container:podman/NAME
//	a path  of a namespace file; it has a slash
//
// The caller closes the NS. Open fails with [fs.ErrNotExist] if there is none,
// with [fs.ErrPermission] if this user may not open or enter it, with
// [errors.ErrUnsupported] if there is nobody to ask about containers, and with
// [ErrBadName] if ref is none of these.
func Open(ref string) (*NS, error) {
	path, lasting, err := findPath(ref)
	if err != nil {
		return nil, err
	}
	f, err := openFile(path)
	if err != nil {
		return nil, fmt.Errorf("netns %q: %w", ref, openError(path, err))
	}
	n, err := identify(f)
	if err != nil {
		return nil, fmt.Errorf("netns %q: %w", ref, err)
	}
	n.ref = chooseRef(lasting, n.isAt(ownPath), n.isAt("/proc/1/ns/net"), namesOf(n.key))
	return n, nil
}

// findPath is refPath that also finds containers.
func findPath(ref string) (path, lasting string, err error) {
	if !strings.HasPrefix(ref, containerPrefix) {
		return refPath(ref)
	}
	c, err := parseContainer(ref)
	if err != nil {
		return "", "", err
	}
	pid, err := c.pid()
	if err != nil {
		return "", "", fmt.Errorf("netns %q: %w", ref, err)
	}
	return fmt.Sprintf("/proc/%d/ns/net", pid), ref, nil
}

// identify makes an NS of f, without a ref. It takes f: if it fails, f is closed.
func identify(f *os.File) (*NS, error) {
	n := &NS{f: f}
	err := n.learn()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return n, nil
}

// learn asks the kernel who n is.
func (n *NS) learn() error {
	info, err := n.f.Stat()
	if err != nil {
		return err
	}
	n.key = inodeOf(info)
	boot, err := BootID()
	if err != nil {
		return err
	}
	var cookie uint64
	err = n.Do(func() error {
		cookie, err = cookieHere()
		return err
	})
	n.id = ID{Boot: boot, Cookie: cookie}
	return err
}

// Ref returns what to store and print, so that [Open] finds n again: a name if
// one leads to n, empty for the host's own, else the absolute path or pid it was
// opened by.
func (n *NS) Ref() string { return n.ref }

// ID returns the identity of n, also after Close.
func (n *NS) ID() ID { return n.id }

// Mode asks the kernel for the vsock mode of n. The answer holds while the
// vsock module stays loaded, so it is asked each time. It fails if n can't be
// entered.
func (n *NS) Mode() (m vsock.Mode, err error) {
	err = n.Do(func() error {
		m, err = vsock.ModeHere()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("mode of netns %q: %w", n.ref, err)
	}
	return m, nil
}

// Close closes n. The namespace goes on if a name, a process or a socket keeps
// it. Closing twice is fine.
func (n *NS) Close() error {
	if err := n.f.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
		return err
	}
	return nil
}

// isAt reports whether path leads to n. If that can't be told it does not.
func (n *NS) isAt(path string) bool {
	info, err := os.Stat(path)
	return err == nil && inodeOf(info) == n.key
}

// errNoNetns says that a file is there but no network namespace.
var errNoNetns = errors.New("not a network namespace")

// openFile opens a file and makes sure that it is a network namespace. The
// caller closes it.
func openFile(path string) (*os.File, error) {
	// Non-blocking, as path may turn out to be a FIFO.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if !isNetns(fd) {
		return nil, errors.Join(errNoNetns, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), path), nil
}

// isNetns reports whether fd is a network namespace.
func isNetns(fd int) bool {
	var s unix.Statfs_t
	if err := unix.Fstatfs(fd, &s); err != nil || s.Type != unix.NSFS_MAGIC {
		return false
	}
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	return err == nil && kind == unix.CLONE_NEWNET
}

// openError gives a failure to open path its meaning and a way out.
func openError(path string, err error) error {
	named := filepath.Dir(path) == runDir
	switch {
	case errors.Is(err, errNoNetns) && named:
		return fmt.Errorf("%w: its file in %s is empty, left by a creator that was killed, or pinned in another mount namespace (try: vmlaunch netns rm)", errAbsent, runDir)
	case errors.Is(err, errNoNetns):
		return err
	case errors.Is(err, unix.ESRCH), errors.Is(err, fs.ErrNotExist):
		return errAbsent
	case errors.Is(err, fs.ErrPermission) && !named:
		return fmt.Errorf("%w (want root, or to be the owner of the process)", err)
	}
	return err
}

func inodeOf(info os.FileInfo) inode {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return inode{}
	}
	return inode{dev: uint64(s.Dev), ino: s.Ino}
}
