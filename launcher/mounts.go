package launcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/configs"
)

// mounts are the folders of a machine as this host gives them to its guest.
type mounts struct {
	shares []Share
	daemon virtiofsd // of those by virtiofs
	root   bool      // we are
}

// resolveMounts looks up all folders that spec names and how they get into the
// guest. It fails with [fs.ErrNotExist] for a folder that is not there, and with a
// [*MissingError] without what the way that was asked for needs.
func resolveMounts(ctx context.Context, spec configs.Machine) (m mounts, err error) {
	if len(spec.Mounts) == 0 {
		return m, nil
	}
	folders, err := realFolders(spec.Mounts)
	if err != nil {
		return m, err
	}
	m.root = os.Geteuid() == 0
	if spec.MountType != configs.Mount9p {
		if m.daemon, err = findVirtiofsd(ctx); err != nil {
			return m, err
		}
	}
	spec.Mounts = folders
	m.shares, err = planShares(spec, m.daemon, m.root)
	return m, err
}

// realFolders returns mounts with the folders that their paths lead to now, and
// all that is wrong with them at once.
func realFolders(said []configs.Mount) (mounts []configs.Mount, err error) {
	for _, m := range said {
		path, ferr := realFolder(m.Host)
		err = errors.Join(err, ferr)
		m.Host = path
		mounts = append(mounts, m)
	}
	return mounts, err
}

func realFolder(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("mount %q: %w", path, bare(err))
	}
	if !info.IsDir() {
		return "", &FolderError{Path: path}
	}
	return filepath.EvalSymlinks(path)
}

// planShares chooses how each folder gets into the guest. It is a pure function.
// The descriptors are those that QEMU has if no others are passed before.
func planShares(spec configs.Machine, v virtiofsd, root bool) ([]Share, error) {
	var shares []Share
	fd := fdFirstPassed
	for i, mount := range spec.Mounts {
		s := Share{Mount: mount, Tag: shareTag(i), Type: configs.Mount9p, Model: "none"}
		if root {
			s.Model = "passthrough"
		}
		lack := lackOf(v, mount.ReadOnly, root)
		switch {
		case lack == nil && spec.MountType != configs.Mount9p:
			s.Type, s.Model, s.FD = configs.MountVirtiofs, "", fd
			fd++
		case spec.MountType == configs.MountVirtiofs:
			return nil, fmt.Errorf("mount %q: %w", mount, lack)
		}
		shares = append(shares, s)
	}
	return shares, nil
}

// lackOf returns why v can't serve a folder, as a [*MissingError]; nil if it can.
func lackOf(v virtiofsd, readOnly, root bool) error {
	const need = "mount by virtiofs"
	switch {
	case v.path == "":
		return &MissingError{What: "virtiofsd", Need: need, Hint: "try: apt-get install virtiofsd, or --mount-type 9p"}
	case v.classic && !root:
		return &MissingError{What: "virtiofsd that users can run", Need: need, Hint: v.path + " is QEMU's old one; run as root, or --mount-type 9p"}
	case readOnly && !v.classic && !v.readOnly:
		return &MissingError{What: "virtiofsd with --readonly", Need: need, Hint: "--mount-type 9p"}
	}
	return nil
}

// serveMounts starts a virtiofsd for each folder that goes by virtiofs.
func (a *attempt) serveMounts() error {
	m := a.host.mounts
	for i, s := range m.shares {
		if s.Type != configs.MountVirtiofs {
			continue
		}
		fd, err := a.serveFolder(s, m.daemon)
		if err != nil {
			return fmt.Errorf("mount %q in machine %q: %w", s.Mount, a.rec.Name, err)
		}
		m.shares[i].FD = fd
	}
	return nil
}

// serveFolder starts v for one folder, and returns the descriptor by which QEMU
// will have it. The connection is made before either of the two runs, so neither
// waits for the other, and v ends when nobody has QEMU's end of it any more.
func (a *attempt) serveFolder(s Share, v virtiofsd) (fd int, err error) {
	listening, connected, err := connection(filepath.Join(a.files.run, s.Tag))
	if err != nil {
		return 0, err
	}
	fd = a.pass(connected)
	defer listening.Close()
	d := daemon{name: "virtiofsd-" + s.Tag, path: v.path, files: []*os.File{listening}, here: true}
	args, byFD := v.args(s.Mount, a.host.mounts.root)
	d.args = args
	if byFD {
		folder, err := readOnlyMount(s.Host)
		if err != nil {
			return 0, err
		}
		defer folder.Close()
		d.files = append(d.files, folder)
	}
	return fd, a.startDaemon(d)
}

// connection returns a listening Unix socket, and one that is connected to it
// already. The path is used for the moment, and gone afterwards. The caller closes
// both.
func connection(path string) (listening, connected *os.File, err error) {
	defer func() {
		if err != nil {
			closeAll(listening, connected)
			err = fmt.Errorf("connect by %s: %w", path, err)
		}
	}()
	if listening, err = unixSocket(); err != nil {
		return listening, nil, err
	}
	if connected, err = unixSocket(); err != nil {
		return listening, connected, err
	}
	addr := &unix.SockaddrUnix{Name: path}
	if err = unix.Bind(int(listening.Fd()), addr); err != nil {
		return listening, connected, err
	}
	defer func() { err = errors.Join(err, os.Remove(path)) }()
	if err = unix.Listen(int(listening.Fd()), 1); err != nil {
		return listening, connected, err
	}
	return listening, connected, unix.Connect(int(connected.Fd()), addr)
}

func unixSocket() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "socket"), nil
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// readOnlyMount returns the folder at path with all that is mounted in it, as a
// mount of its own that is read-only and in no namespace: it is gone when nobody
// has it open. The caller closes it. It fails without root, and on Linux before
// 5.12.
func readOnlyMount(path string) (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return nil, fmt.Errorf("clone the mount: %w", err)
	}
	f := os.NewFile(uintptr(fd), path)
	ro := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, ro); err != nil {
		f.Close()
		return nil, fmt.Errorf("make the mount read-only: %w", err)
	}
	return f, nil
}
