package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// container starts a process in namespace ns, and makes the host's podman one that
// has it as its container web. It returns what ends it.
func (h *host) container(ns string) (end func()) {
	h.t.Helper()
	cmd := exec.Command(testenv.Binary(), "--root", h.root, "netns", "exec", ns, "--", "sleep", "1000")
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	ended := false
	end = func() {
		if !ended {
			ended = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	h.t.Cleanup(end)
	dir := h.t.TempDir()
	pid := cmd.Process.Pid // exec replaces vmlaunch
	podman := fmt.Sprintf("#!/bin/sh\nfor name; do :; done\n[ $name = web ] || { echo \"no such container $name\" >&2; exit 125; }\n"+
		"[ -e /proc/%d/cmdline ] && echo %d || echo 0\n", pid, pid)
	if err := os.WriteFile(filepath.Join(dir, "podman"), []byte(podman), 0o755); err != nil {
		h.t.Fatal(err)
	}
	h.env = append(h.env, "PATH="+dir+":"+os.Getenv("PATH"))
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		h.t.Fatal(err)
	}
	await(h.t, "the container to be in its namespace", func() bool {
		in, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/net")
		return err == nil && in != own
	})
	return end
}

// A machine shares the vsock world of a container, outlives it, and does not start
// again without it.
func TestContainerIsAHome(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	h := newHost(t)
	h.netns("red", "local")
	h.netns("blue", "local")
	h.up(probe, "berry", "blue")
	end := h.container("red")
	h.up(probe, "apple", "container:web")
	h.wantName(probe, "apple")
	if m := h.inspect("apple"); m.Netns != "container:web" || m.Mode != "local" || m.CID != sameCID {
		t.Errorf("got %+v, want it in the container's namespace", m)
	}
	if err := dial(t, "red", sameCID, probe.port); err != nil {
		t.Errorf("dial from the container's namespace: %v", err)
	}
	h.wantFailure(5, []string{"cid 42", `"apple"`}, "up", "cherry", "--image", "probe", "--netns", "red", "--cid", "42")
	h.wantFailure(3, []string{"container:nobody", "no such container"}, "up", "cherry", "--image", "probe", "--netns", "container:nobody")
	h.wantFailure(2, []string{"container:-web"}, "up", "cherry", "--image", "probe", "--netns", "container:-web")
	h.wantFailure(6, []string{"nerdctl"}, "up", "cherry", "--image", "probe", "--netns", "container:nerdctl/web")
	end()
	h.wantName(probe, "apple")
	h.must("stop", "apple")
	h.wantFailure(3, []string{"container:web", "not running"}, "start", "apple")
	h.must("rm", "apple", "berry", "--force")
	h.wantFailure(3, []string{"container:web"}, "netns", "rm", "container:web")
}
