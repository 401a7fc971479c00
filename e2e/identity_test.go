package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/netns"
)

// claimFD is the descriptor by which a QEMU of ours holds its CID.
const claimFD = 4

// setGuestCID is VHOST_VSOCK_SET_GUEST_CID of linux/vhost.h.
const setGuestCID = 0x4008af60

// moveClaim moves the CID of a running machine to another number, behind everybody's
// back: its own number is free in the kernel then.
func moveClaim(t *testing.T, pid int, to uint64) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	device, err := unix.PidfdGetfd(fd, claimFD, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(device)
	value := to
	if err := ioctlPtr(device, setGuestCID, &value); err != nil {
		t.Fatal(err)
	}
}

// commandLine returns the words that a process was started with.
func commandLine(t *testing.T, pid int) []string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
}

// twin starts a QEMU of the same make as a machine's, with its keys and token, but with
// another CID and in the namespace ns. The words are those of the machine's own QEMU.
func twin(t *testing.T, words []string, ns string, cid int) {
	t.Helper()
	var args []string
	for _, w := range words[1:] {
		switch {
		case w == "-S":
			continue
		case strings.HasPrefix(w, "socket,id=qmp,"):
			w = "null,id=qmp"
		case strings.HasPrefix(w, "socket,id=console,"):
			w = "null,id=console"
		case strings.Contains(w, "vhost-vsock-pci"):
			var device map[string]any
			if err := json.Unmarshal([]byte(w), &device); err != nil {
				t.Fatal(err)
			}
			delete(device, "vhostfd")
			device["guest-cid"] = cid
			text, err := json.Marshal(device)
			if err != nil {
				t.Fatal(err)
			}
			w = string(text)
		}
		args = append(args, w)
	}
	n, err := netns.Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	cmd := exec.Command(words[0], args...)
	cmd.Stderr = os.Stderr
	if err := n.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}

// wantRefusals has every way into apple refuse, because berry answers there. No one
// knocks at berry's other doors.
func (h *host) wantRefusals(k kind) {
	h.t.Helper()
	both := []string{`"apple"`, "berry", fmt.Sprint(sameCID)}
	words := append([]string{"exec", "apple", "--"}, k.name...)
	h.wantFailure(125, both, words...)
	h.wantFailure(11, both, "proxy", "apple", "7")
	h.wantFailure(11, both, "port-forward", "apple", ":vsock:7")
	h.wantFailure(11, both, "wait", "apple", "--for", "ssh", "--timeout", "60s")
	if k.image == probe.image {
		return
	}
	h.wantFailure(125, both, "shell", "apple")
	h.wantFailure(11, both, "proxy", "apple")
	h.wantFailure(11, both, "port-forward", "apple", ":22")
	dir := h.t.TempDir()
	h.wantFailure(11, both, "cp", "apple:/etc/vmlaunch/config.json", dir)
	h.wantFailure(11, both, "cp", filepath.Join(h.root, "state", "state.db"), "apple:/root")
	if got, err := os.ReadDir(dir); err != nil || len(got) > 0 {
		h.t.Errorf("something was copied: %v, %v", got, err)
	}
	config := filepath.Join(dir, "config")
	if err := os.WriteFile(config, []byte(h.must("ssh-config", "apple")+"\n"), 0o600); err != nil {
		h.t.Fatal(err)
	}
	out, err := exec.Command("ssh", "-F", config, "apple.vmlaunch", "hostname").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "berry") || strings.Contains(string(out), "\nberry\n") {
		h.t.Errorf("ssh: %v, %q", err, out)
	}
}

// Issue C, 3: another probe is put on a machine's CID; every way in refuses it.
func TestAnotherGuestAnswers(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	h := newHost(t)
	h.netns("cell", "local")
	h.up(probe, "apple", "cell")
	h.must("up", "berry", "--image", "probe", "--netns", "cell", "--cid", "43", "--run-as", "root") // so that its words name files
	h.wantName(probe, "apple")
	berry := h.inspect("berry").PID
	token := h.uuid("berry")
	moveClaim(t, h.inspect("apple").PID, 4242)
	twin(t, commandLine(t, berry), "cell", sameCID)
	await(t, "the other guest to answer", func() bool { return dial(t, "cell", sameCID, probe.port) == nil })

	h.wantRefusals(probe)
	n, err := netns.Open("cell")
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	p, err := guest.DialProbe(t.Context(), n, sameCID, token)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if answer, err := p.Do(t.Context(), "COUNT 7"); err != nil || !strings.Contains(answer, "connections=0 bytes_in=0") {
		t.Errorf("the other guest's echo service was used: %s, %v", answer, err)
	}
}

// uuid returns the UUID of a machine's run.
func (h *host) uuid(name string) string {
	h.t.Helper()
	var m struct{ UUID string }
	h.decode(&m, "inspect", name)
	return m.UUID
}
