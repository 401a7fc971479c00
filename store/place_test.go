package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// private is for a child that mounts where nobody else sees it.
func private() *syscall.SysProcAttr { return &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS} }

// mountTmpfs puts an empty file system of so many bytes at dir, in a child of its
// own.
func mountTmpfs(dir string, flags uintptr, size string) error {
	return unix.Mount("tmpfs", dir, "tmpfs", flags, "size="+size)
}

func TestNetworkFileSystemIsRefused(t *testing.T) {
	const mounts = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:45 / /home rw,relatime shared:20 master:2 - nfs4 server:/home rw,vers=4.2
41 22 0:46 / /mnt/my\040disk rw - 9p host rw,trans=virtio
42 22 0:47 / /media/far rw - fuse.sshfs far: rw
43 22 0:48 / /media/near rw - fuse.ntfs rw
44 22 0:49 / /tmp rw - tmpfs nfs4 rw
broken
`
	for device, kind := range map[string]string{
		"254:0": "", "0:45": "nfs4", "0:46": "9p", "0:47": "fuse.sshfs", "0:48": "", "0:49": "", "0:4": "", "9:9": "",
	} {
		err := notShared("/x", mounts, device)
		if kind == "" && err != nil {
			t.Errorf("device %s: got %v, want it accepted", device, err)
		}
		if kind != "" && (!errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "it is on "+kind+", a network file system") ||
			!strings.Contains(err.Error(), "--root")) {
			t.Errorf("device %s: got %v, want %s refused with the way out", device, err, kind)
		}
	}
	for _, dir := range []string{t.TempDir(), "/proc", "/dev"} { // the latter are on no block device
		if err := onThisHost(dir); err != nil {
			t.Errorf("this host's own %s: %v", dir, err)
		}
	}
}

// TestReadOnlyFileSystemIsGoodForReading fills a file system of its own, makes it
// read-only, and uses it with and without the lock file.
func TestReadOnlyFileSystemIsGoodForReading(t *testing.T) {
	testenv.Require(t, testenv.Root)
	s := New(t.TempDir())
	c := start(t, s, "readonly", private())
	for _, with := range []string{"with", "without"} {
		for _, step := range []struct{ name, want string }{
			{"view", ""},
			{"salvage", ""},
			{"update", "open state " + s.dir + "/state.lock: read-only file system (mount it for writing, or choose another place with --root)"},
			{"rebuild", "open state " + s.dir + "/state.lock: read-only file system (mount it for writing, or choose another place with --root)"},
			{"supported", "false"},
			{"changed", "false"},
		} {
			if got := c.line(); got != step.name+": "+step.want {
				t.Errorf("%s lock file: got %q, want %q", with, got, step.name+": "+step.want)
			}
		}
	}
	if got := c.line(); got != "" {
		t.Errorf("the child ends with %q", got)
	}
}

// playReadOnly is the child of that test.
func playReadOnly(ctx context.Context, s *Store, say func(string, any)) error {
	if err := mountTmpfs(s.dir, 0, "4m"); err != nil {
		return err
	}
	if err := s.Update(ctx, fill); err != nil {
		return err
	}
	for _, lock := range []string{"with", "without"} {
		if lock == "without" {
			if err := errors.Join(mountTmpfs(s.dir, unix.MS_REMOUNT, "4m"), os.Remove(s.dir+"/"+lockName)); err != nil {
				return err
			}
		}
		if err := mountTmpfs(s.dir, unix.MS_REMOUNT|unix.MS_RDONLY, "4m"); err != nil {
			return err
		}
		before, err := os.ReadFile(s.Path())
		if err != nil {
			return err
		}
		say("view", s.View(ctx, func(tx *Tx) error { _, err := tx.Machine("web"); return err }))
		sv, err := s.Salvage(ctx)
		say("salvage", errors.Join(append(sv.Damage, err)...))
		err = s.Update(ctx, count)
		say("update", err)
		_, err2 := s.Rebuild(ctx, count)
		say("rebuild", err2)
		say("supported", !errors.Is(err, errors.ErrUnsupported) || !errors.Is(err2, errors.ErrUnsupported))
		after, err := os.ReadFile(s.Path())
		say("changed", err != nil || !bytes.Equal(before, after))
	}
	return nil
}
