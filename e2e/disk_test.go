package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/bootdisk"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// image writes a disk image that boots, in a folder with a name that means
// something to many, and returns its path.
func (h *host) image(name string) string {
	h.t.Helper()
	return h.file("a,b=c \"d'\ne/"+name, bootdisk.Image(1<<20))
}

// file writes a file of this test and returns its path.
func (h *host) file(name string, content []byte) string {
	h.t.Helper()
	path := filepath.Join(h.t.TempDir(), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		h.t.Fatal(err)
	}
	return path
}

// wantConsole waits until the console of a machine that booted last has said so.
func (h *host) wantConsole(name, last string) {
	h.t.Helper()
	await(h.t, name+" to say "+last, func() bool { return strings.Contains(h.must("logs", name), last) })
}

// upDisk brings up a machine from a disk image that tells nothing.
func (h *host) upDisk(name, image string, more ...string) {
	h.t.Helper()
	h.must(append([]string{"up", name, "--image", image, "--ready", "none", "--memory", "64M"}, more...)...)
}

// Issue C, 1: a disk boots from an overlay, which is kept or not; the image is never
// written, and no two machines write one.
func TestDisk(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes, testenv.QEMUImg)
	h := newHost(t)
	base, data := h.image("base.raw"), h.file("data.raw", make([]byte, 1<<20))
	before, err := os.ReadFile(base)
	if err != nil {
		t.Fatal(err)
	}
	h.netns("cell", "local")
	h.upDisk("apple", base, "--netns", "cell", "--cid", "42", "--disk-size", "64M", "--disk", "serial=data:"+data)
	h.wantConsole("apple", "boot 1")
	h.wantFailure(4, []string{"in use by machine \"apple\""}, "up", "berry", "--image", "probe", "--image", data, "--ready", "none")
	h.wantFailure(4, []string{"in use by machine \"apple\""}, "up", "berry", "--image", base, "--ready", "none", "--disk", base)
	h.upDisk("cherry", base, "--ephemeral") // one image below two
	h.wantConsole("cherry", "boot 1")
	for _, name := range []string{"apple", "cherry"} {
		h.must("kill", name)
		h.must("start", name)
	}
	h.wantConsole("apple", "boot 2")
	h.wantConsole("cherry", "boot 1")
	h.wantFailure(2, []string{"can't be made 1 MiB", "only grow"}, "up", "damson", "--image", h.file("big.raw", make([]byte, 2<<20)), "--disk-size", "1M")
	h.wantFailure(3, []string{"no such file"}, "up", "damson", "--image", base+".gone")
	h.wantFailure(6, []string{"no disk that outlives a stop"}, "snapshot", "create", "cherry")
	h.wantFailure(6, []string{"no qcow2 image in"}, "snapshot", "create", "apple")
	h.must("down", "--timeout", "0s", "apple")
	if after, err := os.ReadFile(base); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the image was written: %v", err)
	}
}

// Issue C, 1: snapshots of a machine that runs and of one that is stopped, with a
// vhost-vsock device.
func TestDiskSnapshots(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes, testenv.QEMUImg)
	h := newHost(t)
	h.upDisk("apple", h.image("base.raw"))
	h.wantConsole("apple", "boot 1")
	h.must("snapshot", "create", "apple", "live")
	h.wantFailure(4, []string{`snapshot "live"`}, "snapshot", "create", "apple", "live")
	h.must("qmp", "apple", "system_reset")
	h.wantConsole("apple", "boot 2")
	h.must("snapshot", "create", "apple", "disk", "--disk-only")
	h.wantFailure(4, []string{"want stopped", "has no memory"}, "snapshot", "restore", "apple", "disk")
	h.must("snapshot", "restore", "apple", "live")
	h.must("qmp", "apple", "system_reset")
	h.wantConsole("apple", "boot 1\r\nboot 2\r\nboot 2")
	h.must("kill", "apple")
	h.wantFailure(3, []string{`snapshot "none"`}, "snapshot", "restore", "apple", "none")
	h.wantFailure(2, []string{"a letter first"}, "snapshot", "create", "apple", "1")
	h.must("snapshot", "restore", "apple", "live")
	h.must("snapshot", "rm", "apple", "disk")
	if got := h.must("snapshot", "ls", "apple", "-o", "template={{.tag}} "); strings.TrimSpace(got) != "live" {
		t.Errorf("snapshots: %q", got)
	}
	h.must("start", "apple")
	h.wantConsole("apple", "boot 2")
}

// Issue C, 1: the built-in guest with disks of this host. What it wrote comes back
// with a snapshot, and the way into it by vsock outlives going back.
func TestLinuxDisks(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes, testenv.Light, testenv.QEMUImg)
	h := newHost(t)
	data, fixed := filepath.Join(t.TempDir(), "da,ta.qcow2"), h.file("fixed.raw", bytes.Repeat([]byte("fixed "), 1<<10))
	h.must("up", "maker", "--image", h.image("base.raw"), "--ready", "none", "--memory", "64M") // for its overlay
	h.must("kill", "maker")
	overlay, err := os.ReadFile(filepath.Join(h.root, "state/machines/maker/disk.qcow2"))
	if err == nil {
		err = os.WriteFile(data, overlay, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	h.netns("cell", "local")
	h.must("up", "apple", "--netns", "cell", "--cid", "42", "--kernel", os.Getenv("VMLAUNCH_TEST_LIGHT"),
		"--disk", "format=qcow2,serial=data:"+data, "--disk", "ro,serial=fixed:"+fixed)
	exec := func(words string) string {
		t.Helper()
		return h.must("exec", "apple", "--", "sh", "-c", words)
	}
	if got := exec("cat /sys/block/vda/serial; head -c 5 /dev/vdb; cat /sys/block/vdb/ro"); got != "datafixed1" {
		t.Errorf("the disks: %q", got)
	}
	if r := h.run("exec", "apple", "--", "sh", "-c", "echo x > /dev/vdb"); r.code == 0 {
		t.Errorf("a read-only disk was written: %s", r)
	}
	exec("echo old | dd of=/dev/vda bs=512 seek=8 conv=fsync 2>/dev/null; echo in memory > /tmp/word")
	h.must("snapshot", "create", "apple", "before")
	exec("echo new | dd of=/dev/vda bs=512 seek=8 conv=fsync 2>/dev/null; rm /tmp/word")
	h.must("snapshot", "restore", "apple", "before")
	if got := exec("dd if=/dev/vda bs=512 skip=8 count=1 iflag=direct 2>/dev/null | head -n 1; cat /tmp/word"); got != "old\nin memory" {
		t.Errorf("after going back: %q", got)
	}
}
