package e2e

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// TestLinuxFirstBoot looks from inside a guest at what it is told: the built-in one
// heeds none of it, and can show all of it. What a stock system makes of it is
// TestDistro's.
func TestLinuxFirstBoot(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes, testenv.Light)
	h := newHost(t)
	dir := t.TempDir()
	in := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const odd = "-a,b=c \"q'\nü"
	userData, network, secret := "#!/bin/sh\necho hi\n", "version: 2\n", "of a file\x00\n"
	h.must("up", "apple", "--image", "linux", "--ready", "ssh", "--user-data", in(odd, userData), "--network-config", in("n,"+odd, network),
		"--credential", "greeting=hello, world", "--credential", "secret=@"+in("s,"+odd, secret))
	if m := h.inspect("apple"); !m.Ready {
		t.Errorf("up --ready ssh: %+v", m)
	}

	seed := h.must("exec", "apple", "--", "sh", "-c", `mkdir -p /seed && mount -t iso9660 -o ro /dev/vda /seed && cd /seed &&
		for f in user-data network-config meta-data; do echo "== $f"; cat $f; echo; done; echo "== ro"; cat /sys/block/vda/ro`)
	for _, want := range []string{"== user-data\n" + userData, "== network-config\n" + network, `"local-hostname":"apple"`, "== ro\n1"} {
		if !strings.Contains(seed, want) {
			t.Errorf("want %q in the seed:\n%s", want, seed)
		}
	}

	smbios, err := hex.DecodeString(strings.Join(strings.Fields(h.must("exec", "apple", "--", "hexdump", "-v", "-e", `1/1 "%02x"`, "/sys/firmware/dmi/tables/DMI")), ""))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"greeting": "aGVsbG8sIHdvcmxk", "secret": "b2YgYSBmaWxlAAo="} {
		if want := "io.systemd.credential.binary:" + name + "=" + value + "\x00"; !strings.Contains(string(smbios), want) {
			t.Errorf("want %q in the guest's SMBIOS", want)
		}
	}
	if strings.Contains(strings.Join(h.qemus(), " "), "aGVsbG8") {
		t.Error("a credential is on QEMU's command line")
	}
	h.must("stop", "apple")
	if left, _ := filepath.Glob(filepath.Join(h.root, "run", "*", "credentials")); len(left) > 0 {
		t.Errorf("left after stop: %v", left)
	}
}
