package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// distroAppend is the kernel's command line of the stock distribution. In an emulator
// everything takes its time, so systemd waits longer than it does by itself.
const distroAppend = "root=/dev/vda rw console=ttyS0 quiet no_timer_check" +
	" systemd.default_timeout_start_sec=900 systemd.default_device_timeout_sec=900"

// distroQEMU is a QEMU that takes KVM where it is. In a nest vmlaunch rightly finds it
// broken: its guest hangs where it loads a segment from ROM, our light kernel oopses, and
// the nest did so once. Debian's kernel runs, though, and several times as fast as by
// emulation in emulation.
func distroQEMU(t *testing.T) string {
	t.Helper()
	if !testenv.Has(testenv.KVM) {
		return "qemu-system-x86_64"
	}
	dir, err := os.MkdirTemp("", "qemu") // a user of its own has to reach it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "qemu-kvm")
	script := `#!/bin/sh
for a; do shift; [ "$a" != tcg ] || a=kvm; set -- "$@" "$a"; done
exec qemu-system-x86_64 "$@"
`
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// upDistro brings the machine debian up in a local namespace.
func (h *host) upDistro(args ...string) {
	h.t.Helper()
	in := func(name string) string { return filepath.Join(os.Getenv(testenv.DistroFolder), name) }
	h.netns("red", "local")
	began := time.Now()
	h.must(append([]string{"up", "debian", "--image", in("disk.qcow2"), "--kernel", in("vmlinuz"), "--initrd", in("initrd.img"), "--append", distroAppend,
		"--netns", "red", "--cid", "42", "--memory", "512M", "--timeout", "25m", "--progress", "plain", "--accel", "tcg", "--qemu", distroQEMU(h.t)}, args...)...)
	h.t.Logf("ready by its own word after %s", time.Since(began).Round(time.Second))
}

// TestDistro boots a stock Debian in a local namespace. Nothing of ours is in it:
// its own systemd tells that it is ready and lets us in over vsock, and it has the
// host key that we made for it.
func TestDistro(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes, testenv.QEMUImg, testenv.SSH, testenv.Distro)
	h := newHost(t)
	secret := filepath.Join(t.TempDir(), "a,b=c \"q'\nü")
	if err := os.WriteFile(secret, []byte("of a file\x00\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.upDistro("--credential", "greeting=hello", "--credential", "secret=@"+secret)

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
	// It has no logind that would hear its power button.
	h.run("exec", "debian", "--", "systemctl", "poweroff")
	h.must("wait", "debian", "--for", "stopped", "--timeout", "5m")
	if s := h.inspect("debian").State; s != "stopped" {
		t.Errorf("after its power-off: %s", s)
	}
	h.must("rm", "debian")
}

// TestDistroCloudInit has the same system read our seed: cloud-init makes the user
// that is asked for and does what the user's own file says.
func TestDistroCloudInit(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes, testenv.QEMUImg, testenv.SSH, testenv.Distro)
	h := newHost(t)
	userData := filepath.Join(t.TempDir(), "user data,a=b")
	text := "#cloud-config\nwrite_files:\n- {path: /etc/asked-for, content: by the user}\nruncmd:\n- [sh, -c, 'id -un > /etc/run-by']\n"
	if err := os.WriteFile(userData, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	h.upDistro("--user", "dev", "--user-data", userData)
	for _, c := range []struct{ want, script string }{
		{"dev", "id -un"},
		{"DataSourceNoCloud", "cloud-init status --long | sed -n 's/^detail: \\([A-Za-z]*\\).*/\\1/p'"},
		{"by the user", "cat /etc/asked-for"},
		{"root", "until [ -s /etc/run-by ]; do sleep 0.2; done; cat /etc/run-by"}, // the last thing cloud-init does
		{"debian", "hostname"},
	} {
		if got := h.must("exec", "debian", "--", "sh", "-c", c.script); got != c.want {
			t.Errorf("%s: got %q, want %q", c.script, got, c.want)
		}
	}
	h.wantSSH("debian")
	h.must("rm", "--force", "debian")
}
