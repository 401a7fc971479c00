package launcher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/internal/proc"
)

// The bytes of an image that QEMU and qemu-img lock, see block/file-posix.c and
// BLK_PERM_WRITE in include/block/block-common.h of QEMU's source: who may write
// holds the first one, who wants nobody else to write the second one.
const (
	lockWrites    = 101
	lockNoWriters = 201
)

// An ImageInUseError says that somebody else has a disk image open in a way that
// two can't have it. errors.Is(err, fs.ErrExist) holds.
type ImageInUseError struct {
	Path   string
	Writes bool   // it was to be written
	Holder string // in words
}

func (e *ImageInUseError) Error() string {
	if e.Writes {
		return fmt.Sprintf("disk image %q: in use by %s, so it can't be written (stop that first, or use it as the --image of both)", e.Path, e.Holder)
	}
	return fmt.Sprintf("disk image %q: written by %s, so it can't be read (stop that first, or copy the image)", e.Path, e.Holder)
}

// Is makes every ImageInUseError an [fs.ErrExist].
func (e *ImageInUseError) Is(target error) bool { return target == fs.ErrExist }

// checkHolders fails with an [*ImageInUseError] if a drive of the machine is an image
// that another program has locked. QEMU asks once more when it opens it, and takes
// the lock: this is for the reason to be told.
func checkHolders(drives []Drive) error {
	var errs []error
	for _, d := range drives {
		for i, l := range d.Layers {
			errs = append(errs, checkHolder(l.Path, i == 0 && !d.ReadOnly))
		}
	}
	return errors.Join(errs...)
}

// checkHolder does so for one image.
func checkHolder(path string, write bool) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // an overlay that is to be made
	}
	if err != nil {
		return fmt.Errorf("disk image %q: %w", path, bare(err))
	}
	defer f.Close()
	locks := []int64{lockWrites}
	if write {
		locks = append(locks, lockNoWriters)
	}
	for _, at := range locks {
		// A lock of an open file, not of a process: QEMU's is of that kind, and ours
		// would go with the first descriptor of this file that is closed.
		lk := unix.Flock_t{Type: unix.F_WRLCK, Start: at, Len: 1}
		if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lk); err != nil {
			return nil //nolint:nilerr // a file system without locks: nobody holds any
		}
		if lk.Type != unix.F_UNLCK {
			return &ImageInUseError{Path: path, Writes: write, Holder: holder(f)}
		}
	}
	return nil
}

// holder names who has f open, as far as this process may see.
func holder(f *os.File) string {
	want, err := f.Stat()
	if err != nil {
		return "another program"
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		st, err := os.Stat(link)
		pid, perr := strconv.Atoi(strings.Split(link, "/")[2])
		if err != nil || perr != nil || pid == os.Getpid() || !os.SameFile(st, want) {
			continue
		}
		args, err := proc.Cmdline(pid)
		if err != nil || len(args) == 0 {
			continue
		}
		if i := slices.Index(args, "-name"); i > 0 && i+1 < len(args) {
			if name, ok := strings.CutPrefix(args[i+1], "guest="); ok {
				return fmt.Sprintf("machine %q (pid %d)", name, pid)
			}
		}
		return fmt.Sprintf("%s (pid %d)", filepath.Base(args[0]), pid)
	}
	return "another program"
}
