package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// folders are what the machines of a test mount: a folder with an odd name, which
// has links that lead out of it, and one that is read-only.
type folders struct{ odd, ro string }

func newFolders(t *testing.T, h *host) folders {
	t.Helper()
	f := folders{odd: filepath.Join(h.root, "-a, 'b' \"c\" =:d\n\\"), ro: filepath.Join(h.root, "ro")}
	secret := filepath.Join(h.root, "secret")
	for path, text := range map[string]string{secret: "secret", filepath.Join(f.odd, "host"): "of the host", filepath.Join(f.ro, "file"): "as it was"} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"up": "../secret", "away": secret, "folder": ".."} {
		if err := os.Symlink(to, filepath.Join(f.odd, name)); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// flags returns those that mount the folders.
func (f folders) flags(kind string) []string {
	return []string{"--mount-type", kind, "--mount", f.odd + ":/src, x/y", "--mount", f.ro + ":/ro:ro"}
}

// virtiofsds lists all that run, of whichever installation: one that shares
// read-only has no path on its command line.
func virtiofsds(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(dirs, func(dir string) bool {
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		program, _, _ := strings.Cut(string(line), "\x00")
		return err != nil || filepath.Base(program) != "virtiofsd"
	})
}

// guestWork is all that a guest does with its folders, in one go: each way into a
// guest that is emulated twice takes a second. NAME and MOUNT are filled in.
const guestWork = `
cat '/src, x/y/host' /ro/file; echo
cd '/src, x/y' && echo NAME > NAME && chown 5:6 NAME
for link in up away folder/secret; do cat $link 2> /dev/null && echo leads out; done
refused() { "$@" 2>&1 | grep -q 'Read-only file system' && echo refused; }
write() { echo bad > /ro/$1; }
refused write file
cd / && umount /ro && MOUNT mount1 /ro
refused write file; refused write new; refused rm /ro/file; refused chmod 0 /ro/file
`

// guestSays is what it prints of that.
const guestSays = "of the hostas it was\n" + "refused\n" + "refused\nrefused\nrefused\nrefused\n"

// wantMounts asks of a machine for all that its folders promise. Read-only is what
// the host says, whatever the guest mounts.
func (h *host) wantMounts(name, mount string, f folders) {
	h.t.Helper()
	script := strings.NewReplacer("NAME", name, "MOUNT", mount).Replace(guestWork)
	if r := h.run("exec", name, "--", "sh", "-c", script); r.stdout != guestSays {
		h.t.Errorf("want %q: %s", guestSays, r)
	}
	info, err := os.Stat(filepath.Join(f.odd, name))
	if err != nil || info.Size() != int64(len(name)+1) || info.Sys().(*syscall.Stat_t).Uid != 5 || info.Sys().(*syscall.Stat_t).Gid != 6 {
		h.t.Errorf("what the guest wrote: %+v, %v", info, err)
	}
	if err := os.WriteFile(filepath.Join(f.odd, "later"), []byte(name), 0o644); err != nil {
		h.t.Fatal(err)
	}
	if r := h.run("exec", name, "--", "cat", "/src, x/y/later"); r.stdout != name {
		h.t.Errorf("want what the host wrote meanwhile: %s", r)
	}
	if text, err := os.ReadFile(filepath.Join(f.ro, "file")); err != nil || string(text) != "as it was" {
		h.t.Errorf("read-only file: %q, %v", text, err)
	}
}

// TestLinuxMounts has two guests mount the same folders, by virtiofs and by 9p. What
// serves them is gone with the machine, in each way of its end.
func TestLinuxMounts(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes, testenv.Light, testenv.Virtiofsd)
	h := newHost(t)
	f := newFolders(t, h)
	h.netns("red", "local")
	for name, kind := range map[string]string{"apple": "virtiofs", "berry": "9p"} {
		h.must(append([]string{"up", "-d", name, "--netns", "red"}, f.flags(kind)...)...)
	}
	h.must("wait", "apple", "berry", "--for", "ready", "--timeout", "5m")
	h.wantMounts("apple", "mount -t virtiofs", f)
	h.wantMounts("berry", "mount -t 9p -o trans=virtio,version=9p2000.L", f)
	if len(virtiofsds(t)) < 2 {
		t.Errorf("virtiofsds: %v, want those of apple", virtiofsds(t))
	}
	h.must("rm", "--force", "berry")
	h.must("stop", "apple")
	if left := virtiofsds(t); len(left) > 0 {
		t.Errorf("after stop run %v", left)
	}
	h.must("start", "-d", "apple")
	if err := syscall.Kill(h.inspect("apple").PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "virtiofsd ends after kill -9 of QEMU", func() bool { return len(virtiofsds(t)) == 0 })
	h.must("rm", "apple")
	for _, step := range []string{"qemu", "running"} {
		h.env = []string{"VMLAUNCH_TEST_KILL_AT=" + step}
		h.run(append([]string{"up", "-d", "cherry", "--netns", "red"}, f.flags("virtiofs")...)...)
		h.env = nil
		if m := h.list(); len(m) > 0 {
			t.Errorf("killed at %s: there are %v", step, m)
		}
		if left := virtiofsds(t); len(left) > 0 {
			t.Errorf("killed at %s: there run %v", step, left)
		}
	}
	h.want(8, append([]string{"up", "-d", "cherry", "--netns", "red", "--qemu-arg", "-no-such-option"}, f.flags("virtiofs")...)...)
	if left := virtiofsds(t); len(left) > 0 {
		t.Errorf("after a failed start run %v", left)
	}
}
