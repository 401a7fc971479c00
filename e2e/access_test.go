package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// wantSSH has OpenSSH run hostname in machines, by what ssh-config prints.
func (h *host) wantSSH(names ...string) {
	h.t.Helper()
	config := filepath.Join(h.t.TempDir(), "config")
	text := h.must(append([]string{"ssh-config"}, names...)...)
	if err := os.WriteFile(config, []byte(text+"\n"), 0o600); err != nil {
		h.t.Fatal(err)
	}
	for _, name := range names {
		out, err := exec.Command("ssh", "-F", config, name+".vmlaunch", "hostname").CombinedOutput()
		if err != nil || string(out) != name+"\n" {
			h.t.Errorf("ssh %s.vmlaunch hostname: %q, %v\n%s", name, out, err, text)
		}
	}
}

// TestProxy talks to two probes with one CID through proxy: each is reached in its
// own namespace, and the end of the input is heard there.
func TestProxy(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	h := newHost(t)
	for name, ns := range map[string]string{"apple": "red", "berry": "blue"} {
		h.netns(ns, "local")
		h.up(probe, name, ns)
	}
	for _, name := range []string{"apple", "berry"} {
		r := h.runInput("NAME\n", "proxy", name, "1234")
		if r.code != 0 || !strings.Contains(r.stdout, "OK "+name+"\n") {
			t.Errorf("want the probe's answer and its end: %s", r)
		}
	}
	h.wantFailure(1, []string{`"apple"`, syscall.ECONNRESET.Error(), "nothing listens"}, "proxy", "apple")
	h.must("kill", "apple")
	h.wantFailure(4, []string{`"apple"`, "is stopped"}, "proxy", "apple")
	h.wantFailure(3, []string{`"nobody"`}, "proxy", "nobody")
}
