package e2e

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// Issue A, h: a machine keeps its CID over stop and start, and stop gives the
// number back to the kernel but not to another machine of ours.
func TestStopStartKeepsTheCID(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock)
	h := newHost(t)
	h.must("up", "apple", "--image", "probe")
	before := h.inspect("apple")
	h.must("stop", "apple")
	if m := h.inspect("apple"); m.State != "stopped" || m.PID != 0 {
		t.Errorf("after stop: %+v", m)
	}
	r := h.run("up", "berry", "--image", "probe", "--cid", strconv.Itoa(int(before.CID)))
	if r.code != 5 || !strings.Contains(r.stderr, `"apple"`) {
		t.Errorf("want the stopped machine to keep its number: %s", r)
	}
	h.must("start", "apple")
	if m := h.inspect("apple"); m.CID != before.CID || m.State != "running" || !m.Ready {
		t.Errorf("after start: %+v, want CID %d, running and ready", m, before.CID)
	}
	h.wantName(probe, "apple")
}

// Issue A, h: a QEMU that is killed is seen by the next command, its CID is
// free in the kernel, and the machine starts again with the same number.
func TestKilledQEMUIsSeen(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock)
	h := newHost(t)
	h.must("up", "apple", "--image", "probe")
	before := h.inspect("apple")
	if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "the killed machine to be shown as failed", func() bool { return h.inspect("apple").State == "failed" })
	if m := h.list()["apple"]; m.PID != 0 || m.Ready {
		t.Errorf("ls shows %+v", m)
	}
	h.wantFailure(125, []string{`"apple"`}, "exec", "apple", "--", "NAME")
	h.must("start", "apple")
	if m := h.inspect("apple"); m.CID != before.CID || m.PID == before.PID {
		t.Errorf("after start: %+v, want the CID of %+v and another process", m, before)
	}
}

// Issue A, h: Ctrl-C at any moment of a launch leaves either nothing or a
// machine that runs and is listed. The probe guest is ready too soon for it.
func TestInterruptedUpOfLinuxLeavesTheTruth(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes, testenv.Light)
	for name, seen := range map[string]func(h *host) bool{
		"namespace made": func(h *host) bool { return len(pins(h.t)) > len(h.pins) },
		"qemu started":   func(h *host) bool { return len(h.qemus()) > 0 },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			r := h.interrupt(func() bool { return seen(h) }, "up", "apple", "--image", "linux", "--netns", "cell", "--vsock", "local")
			if r.code != 130 {
				t.Errorf("want exit code 130: %s", r)
			}
			if m, there := h.list()["apple"]; !there {
				h.wantClean()
			} else if m.State != "running" || len(h.qemus()) != 1 {
				t.Errorf("after Ctrl-C: %+v, processes: %v", m, h.qemus())
			}
		})
	}
}

// The host's files are private: keys and consoles are nobody else's business.
func TestStateIsPrivate(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock)
	h := newHost(t)
	h.must("up", "apple", "--image", "probe")
	for _, dir := range []string{"state", "run", "run/apple", "state/machines/apple"} {
		info, err := os.Stat(h.root + "/" + dir)
		if err != nil {
			t.Error(err)
			continue
		}
		if p := info.Mode().Perm(); p != 0o700 {
			t.Errorf("%s has mode %o, want 0700", dir, p)
		}
	}
}
