package e2e

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

const childModeKnob = "/proc/sys/net/vsock/child_ns_mode"

// Issue A, f: the tests in here end what the kernel allows only once a boot,
// so they run alone, last, and in the order below: `make test` runs them with
// -run TestHost in a nest that is thrown away.
//
// After everything that ran before, the host's child_ns_mode was never
// written: it reads global, and writing the other value still succeeds, which
// the kernel refuses with EBUSY after a first write of `global`.
func TestHostKnobWasNeverWritten(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VsockModes, testenv.Throwaway)
	h := newHost(t)
	h.netns("cell", "local")
	h.netns("plain", "global")
	if got := readKnob(t); got != "global" {
		t.Fatalf("child_ns_mode of the host reads %q, want global", got)
	}
	if err := os.WriteFile(childModeKnob, []byte("local"), 0); err != nil {
		t.Fatalf("first write to child_ns_mode: %v", err)
	}
	if err := os.WriteFile(childModeKnob, []byte("global"), 0); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("second write of the other value: %v, want EBUSY (is this the real knob?)", err)
	}
}

// With the knob locked to local by someone else, a global namespace is made
// by the way that is left, through a global one that is still unlocked.
func TestHostLockedToLocal(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VsockModes, testenv.Throwaway)
	if got := readKnob(t); got != "local" {
		t.Fatalf("child_ns_mode of the host reads %q, want local from the test before", got)
	}
	h := newHost(t)
	// No global namespace is left but the host's own: say so, change nothing.
	h.wantFailure(6, []string{"child_ns_mode", "reboot"}, "netns", "create", "plain", "--vsock", "global")
	if got := pins(t); len(got) != len(h.pins) {
		t.Errorf("pinned namespaces after the refusal: %v", got)
	}
	// Local ones are as before.
	h.netns("cell", "local")
	h.up(probe, "apple", "cell")
	h.wantName(probe, "apple")
}

// With vsock.ko reloaded while namespaces exist every namespace is global
// again, and nothing that was recorded is believed.
func TestHostReloadsVsock(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes, testenv.Throwaway)
	h := newHost(t)
	h.netns("cell", "local")
	h.must("up", "apple", "--image", "probe", "--netns", "cell", "--cid", "42")
	h.must("stop", "apple")
	testenv.UnloadVsock(t)
	// Without vsock.ko: the command loads it again and sees what is now.
	if m := h.inspect("apple"); m.State != "stopped" {
		t.Errorf("without vsock.ko: %+v", m)
	}
	h.wantFailure(6, []string{"/dev/vhost-vsock"}, "start", "apple")
	n, err := netns.Open("cell")
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if m, err := n.Mode(); err != nil || m != vsock.Global {
		t.Errorf("mode of a namespace made before the reload: %v, %v, want global", m, err)
	}
	var rows []struct{ Name, Mode string }
	h.decode(&rows, "netns", "ls", "--output", "json")
	for _, r := range rows {
		if r.Name == "cell" && r.Mode != "global" {
			t.Errorf("netns ls says %+v, want global", r)
		}
	}
	if out, err := exec.Command("modprobe", "-a", "vhost_vsock", "vsock_loopback").CombinedOutput(); err != nil {
		t.Fatalf("modprobe: %v: %s", err, out)
	}
	h.must("rm", "apple")
	h.must("netns", "rm", "cell")
	h.netns("cell", "local")
	h.up(probe, "apple", "cell")
	h.wantName(probe, "apple")
}

func readKnob(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(childModeKnob)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}
