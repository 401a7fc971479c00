package e2e

import (
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// Issue A, g: on a kernel without modes (6.12) the same binary works. There
// is one global space, and asking for more is refused with the reason.
func TestKernelWithoutModes(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.NoModes)
	h := newHost(t)
	for _, c := range []struct{ words, args []string }{
		{[]string{"vsock modes", "Linux 7.0"}, []string{"netns", "create", "cell", "--vsock", "local"}},
		{[]string{"local", "kernel"}, []string{"up", "apple", "--image", "probe", "--netns", "cell", "--vsock", "local"}},
	} {
		h.wantFailure(6, c.words, c.args...)
	}
	if m := h.list(); len(m) != 0 {
		t.Errorf("machines after the refusals: %v", m)
	}
	h.wantClean()

	h.netns("red", "global")
	h.netns("blue", "global")
	h.up(probe, "apple", "red")
	h.wantName(probe, "apple")
	if m := h.inspect("apple"); m.Mode != "global" {
		t.Errorf("mode %q, want global", m.Mode)
	}
	h.wantFailure(5, []string{"cid 42", `"apple"`}, "up", "berry", "--image", "probe", "--netns", "blue", "--cid", "42")
	h.must("up", "berry", "--image", "probe", "--netns", "blue")
	h.wantName(probe, "berry")
	for _, from := range []string{"", "red", "blue"} {
		if err := dial(t, from, sameCID, probe.port); err != nil {
			t.Errorf("dial from %q: %v", from, err)
		}
	}
}
