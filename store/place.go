package store

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// networkFS are the file systems that are somewhere else, by the names they are
// mounted with. statfs(2) would not do: 9p reports what its server has. Other
// FUSE file systems can't be told, and are left alone.
func networkFS() []string {
	return []string{"9p", "afs", "beegfs", "ceph", "cifs", "coda", "gpfs", "lustre", "nfs", "nfs4", "orangefs", "smb3",
		"fuse.ceph-fuse", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"}
}

// onThisHost fails with [errors.ErrUnsupported] if dir, which must exist, is on a
// network file system.
func onThisHost(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return openError(dir, err)
	}
	if unix.Major(st.Dev) != 0 {
		return nil // on a block device; to read the list of mounts takes 0.1 ms
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("look at state %s: %w", dir, cause(err))
	}
	return notShared(dir, string(mounts), fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
}

// notShared fails if mounts, in the form of /proc/self/mountinfo, says that
// device holds a network file system.
func notShared(dir, mounts, device string) error {
	for line := range strings.Lines(mounts) {
		before, after, _ := strings.Cut(line, " - ") // optional fields end here
		f, kind := strings.Fields(before), strings.Fields(after)
		if len(f) > 2 && f[2] == device && len(kind) > 0 && slices.Contains(networkFS(), kind[0]) {
			return unsupported{fmt.Errorf("open state in %s: it is on %s, a network file system: neither locks nor mapped files hold "+
				"across hosts (choose a local disk with --root)", dir, kind[0])}
		}
	}
	return nil
}

// unsupported makes an error one that this host or place is the cause of.
type unsupported struct{ error }

func (unsupported) Is(target error) bool { return target == errors.ErrUnsupported }

func (u unsupported) Unwrap() error { return u.error }
