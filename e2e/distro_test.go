package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// distroAppend is the kernel's command line of the stock distribution. Emulated in
// an emulator all is thirty times as slow as on a host with KVM: time limits are
// longer, and what a machine of one disk does not need is left out.
func distroAppend() string {
	words := []string{
		"root=/dev/vda", "rw", "console=ttyS0", "quiet", "no_timer_check", "mitigations=off", "audit=0",
		"systemd.default_timeout_start_sec=900", "systemd.default_device_timeout_sec=900",
	}
	for _, unit := range []string{
		"getty.target", "timers.target", "ssh", "ldconfig", "kmod-static-nodes",
		"systemd-udev-trigger", "systemd-udevd", "systemd-udevd-control.socket", "systemd-udevd-kernel.socket",
		"systemd-journal-flush", "systemd-journal-catalog-update", "systemd-random-seed", "systemd-network-generator",
		"systemd-modules-load", "systemd-sysctl", "systemd-remount-fs", "systemd-machine-id-commit", "systemd-hostnamed.socket",
		"systemd-tmpfiles-setup-dev", "systemd-tmpfiles-setup-dev-early", "systemd-update-done",
		"modprobe@configfs", "modprobe@drm", "modprobe@fuse", "modprobe@efi_pstore", "modprobe@dm_mod", "modprobe@loop",
		"dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
		"sys-fs-fuse-connections.mount", "sys-kernel-config.mount", "proc-sys-fs-binfmt_misc.automount",
	} {
		words = append(words, "systemd.mask="+unit)
	}
	return strings.Join(words, " ")
}

// TestDistro boots a stock Debian in a local namespace. Nothing of ours is in it:
// its own systemd tells that it is ready and lets us in over vsock, and it has the
// host key that we made for it.
func TestDistro(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes, testenv.QEMUImg, testenv.SSH, testenv.Distro)
	h := newHost(t)
	in := func(name string) string { return filepath.Join(os.Getenv(testenv.DistroFolder), name) }
	h.netns("red", "local")
	secret := filepath.Join(t.TempDir(), "a,b=c \"q'\nü")
	if err := os.WriteFile(secret, []byte("of a file\x00\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	h.must("up", "debian", "--image", in("disk.qcow2"), "--kernel", in("vmlinuz"), "--initrd", in("initrd.img"), "--append", distroAppend(),
		"--netns", "red", "--cid", "42", "--memory", "512M", "--timeout", "25m", "--progress", "plain",
		"--credential", "greeting=hello", "--credential", "secret=@"+secret)
	t.Logf("ready by its own word after %s", time.Since(began).Round(time.Second))

	if v := h.inspect("debian"); !v.Ready || v.CID != 42 || v.Mode != "local" {
		t.Errorf("up: %+v", v)
	}
	for _, c := range []struct{ want, script string }{
		{"debian", "hostname"},
		{"Debian GNU/Linux 13 (trixie)", `. /etc/os-release; echo "$PRETTY_NAME"`},
		{"hello", "cat /run/credentials/@system/greeting"},
		{"6f6620612066696c65000a", `od -An -tx1 /run/credentials/@system/secret | tr -d " "`},
		{"root", "id -un"},
	} {
		if got := h.must("exec", "debian", "--", "sh", "-c", c.script); got != c.want {
			t.Errorf("%s: got %q, want %q", c.script, got, c.want)
		}
	}
	h.want(7, "exec", "debian", "--", "sh", "-c", "exit 7")
	h.wantSSH("debian")
	h.wantCopy("debian")
	t.Log(h.must("exec", "debian", "--", "sh", "-c", "uname -r; systemctl --version | head -n 1; systemd-analyze || true"))
	h.must("stop", "debian", "--timeout", "5m")
	if s := h.inspect("debian").State; s != "stopped" {
		t.Errorf("after stop: %s", s)
	}
	if log := h.must("logs", "debian"); !strings.Contains(log, "Power down") {
		t.Errorf("its log does not tell of a power-off:\n%s", log)
	}
}
