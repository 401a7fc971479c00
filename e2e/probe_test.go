package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// The rest of what issue A, k asks of the probe guest is asked of it and the
// kernel directly, without vmlaunch between: see TestProbe… of package guest.

// Issue A, k: the guest dials out, and the errno that came back is reported.
func TestProbeDialsOut(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	h := newHost(t)
	h.netns("cell", "local")
	h.up(probe, "apple", "cell")
	open := listen(t, "cell")
	elsewhere := listen(t, "")
	for _, c := range []struct {
		name string
		port uint32
		want string
	}{
		{"to a listener in its namespace", open, "OK"},
		{"to a port where nobody listens", 9, "ERR ECONNRESET"},
		{"to a listener outside its namespace", elsewhere, "ERR ECONNRESET"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := h.run("exec", "apple", "--", "DIAL", "2", fmt.Sprint(c.port))
			if !strings.HasPrefix(r.stdout, c.want) {
				t.Errorf("want %q: %s", c.want, r)
			}
		})
	}
}

// Issue A, k: a reboot keeps the CID and comes back ready.
func TestProbeReboots(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	h := newHost(t)
	h.netns("cell", "local")
	h.up(probe, "apple", "cell")
	before := h.inspect("apple")
	h.must("qmp", "apple", "system_reset")
	h.must("wait", "apple", "--for", "ready", "--timeout", "60s")
	h.wantName(probe, "apple")
	if m := h.inspect("apple"); m.CID != sameCID || m.PID != before.PID {
		t.Errorf("after the reset: %+v, before: %+v", m, before)
	}
}
