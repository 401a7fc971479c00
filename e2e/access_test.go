package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// wantSSH has OpenSSH run hostname in machines, by what ssh-config prints.
func (h *host) wantSSH(names ...string) {
	h.t.Helper()
	config := h.sshConfig(names...)
	for _, name := range names {
		out, err := exec.Command("ssh", "-F", config, name+".vmlaunch", "hostname").CombinedOutput()
		if err != nil || string(out) != name+"\n" {
			h.t.Errorf("ssh %s.vmlaunch hostname: %q, %v", name, out, err)
		}
	}
}

// sshConfig returns a file with what ssh-config prints.
func (h *host) sshConfig(names ...string) string {
	h.t.Helper()
	config := filepath.Join(h.t.TempDir(), "config")
	text := h.must(append([]string{"ssh-config"}, names...)...)
	if err := os.WriteFile(config, []byte(text+"\n"), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return config
}

// wantSFTP has OpenSSH's scp copy a folder into a machine, and its sftp list it,
// rename a file in it and get that.
func (h *host) wantSFTP(name string) {
	h.t.Helper()
	config, dir := h.sshConfig(name), h.t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "src"), 0o755), os.WriteFile(filepath.Join(dir, "src", "it's a file"), []byte("text\n"), 0o640)); err != nil {
		h.t.Fatal(err)
	}
	ssh, err := exec.LookPath("ssh") // in a nest it is not where the two look for it
	if err != nil {
		h.t.Fatal(err)
	}
	sftp := exec.Command("sftp", "-S", ssh, "-F", config, "-b", "-", name+".vmlaunch")
	sftp.Stdin = strings.NewReader("cd by-scp\nls -l\nrename \"it's a file\" renamed\nget renamed " + dir + "/got\n")
	back := filepath.Join(dir, "back")
	for _, cmd := range []*exec.Cmd{
		exec.Command("scp", "-S", ssh, "-F", config, "-rp", filepath.Join(dir, "src"), name+".vmlaunch:by-scp"),
		sftp,
		exec.Command("scp", "-S", ssh, "-F", config, "-p", name+".vmlaunch:by-scp/renamed", back),
	} {
		if out, err := cmd.CombinedOutput(); err != nil {
			h.t.Errorf("%q: %v\n%s", cmd.Args, err, out)
		}
	}
	for _, path := range []string{filepath.Join(dir, "got"), back} {
		if got, err := os.ReadFile(path); err != nil || string(got) != "text\n" {
			h.t.Errorf("%s says %q, %v", path, got, err)
		}
	}
	if info, err := os.Stat(back); err != nil || info.Mode() != 0o640 {
		h.t.Errorf("the file that came back: %v, %v", info, err)
	}
}

// wantCopy copies a tree with a sparse file into a machine, and it but for that back.
func (h *host) wantCopy(name string) {
	h.t.Helper()
	const sparseSize = 64 << 20
	dir := h.t.TempDir()
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "src/sub"), 0o755),
		os.WriteFile(filepath.Join(dir, "src/sub/file"), []byte("text\n"), 0o640), os.Symlink("sub/file", filepath.Join(dir, "src/link")),
		os.WriteFile(filepath.Join(dir, "src/sub/hole"), nil, 0o600), os.Truncate(filepath.Join(dir, "src/sub/hole"), sparseSize)); err != nil {
		h.t.Fatal(err)
	}
	h.must("cp", filepath.Join(dir, "src"), name+":copy")
	if got := h.must("exec", name, "--", "cat", "copy/link"); got != "text" {
		h.t.Errorf("the copy in the machine says %q", got)
	}
	if got := h.must("exec", name, "--", "stat", "-c", "%s %b", "copy/sub/hole"); got != strconv.Itoa(sparseSize)+" 0" {
		h.t.Errorf("size and blocks of the sparse file are %s", got)
	}
	h.must("exec", name, "--", "rm", "copy/sub/hole")
	h.must("cp", name+":/root/copy", filepath.Join(dir, "back"))
	if info, err := os.Stat(filepath.Join(dir, "back/sub/file")); err != nil || info.Mode() != 0o640 || info.Size() != 5 {
		h.t.Errorf("the copy that came back: %v, %v", info, err)
	}
	if to, err := os.Readlink(filepath.Join(dir, "back/link")); err != nil || to != "sub/file" {
		h.t.Errorf("the link that came back: %q, %v", to, err)
	}
	h.wantFailure(3, []string{name, "/no/such"}, "cp", name+":/no/such", dir)
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
