package e2e

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/netns"
)

// losses are ways to lose the state file.
func losses() map[string]func(path string) error {
	return map[string]func(path string) error{
		"deleted": os.Remove,
		"empty":   func(path string) error { return os.Truncate(path, 0) },
		"garbage": func(path string) error {
			return os.WriteFile(path, []byte(strings.Repeat("not a database\n", 5000)), 0o600)
		},
	}
}

// Issue B: the state file is lost while five machines run. All five are adopted
// with their CIDs and namespaces, and are reached again.
func TestRepairAfterTheStateIsLost(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	h := newHost(t)
	h.netns("red", "local")
	h.netns("green", "global")
	for name, where := range map[string][]string{
		"apple":  {"--netns", "red", "--cid", "42"},
		"berry":  {"--netns", "blue", "--vsock", "local", "--cid", "42"}, // which it makes
		"cherry": {"--netns", "green", "--cid", "42"},
		"damson": {},
		"elder":  {"--netns", "red"},
	} {
		h.must(append([]string{"up", name, "--image", "probe"}, where...)...)
	}
	before := h.list()
	for name, lose := range losses() {
		t.Run(name, func(t *testing.T) {
			sub := *h
			sub.t = t
			state := filepath.Join(h.root, "state", "state.db")
			if err := lose(state); err != nil {
				t.Fatal(err)
			}
			lost, lostErr := os.ReadFile(state)
			sub.wantLost(lostErr == nil)
			sub.must("repair", "--dry-run")
			if now, err := os.ReadFile(state); string(now) != string(lost) || errors.Is(err, fs.ErrNotExist) != errors.Is(lostErr, fs.ErrNotExist) {
				t.Error("the dry run has changed the state file")
			}
			t.Log(sub.must("repair"))
			if after := sub.list(); !maps.Equal(after, before) {
				t.Errorf("machines are\n%+v\nwant\n%+v", after, before)
			}
			for name := range before {
				sub.wantName(probe, name)
			}
			kept, err := filepath.Glob(state + ".damaged-*")
			if err != nil || lostErr == nil && len(kept) == 0 {
				t.Errorf("the old file is kept as %q, %v", kept, err)
			}
			if out := sub.must("repair", "-o", "json"); out != "[]" {
				t.Errorf("a second repair finds more: %s", out)
			}
		})
	}
	for name := range before {
		h.must("down", name)
	}
	h.must("netns", "rm", "red", "green") // known as ours again, like blue, which went with berry
	h.wantClean()
}

// wantLost asks that without a repair nothing is done to what runs: a file that
// is there is refused, and so are the names of machines where none is.
func (h *host) wantLost(unreadable bool) {
	h.t.Helper()
	way := "vmlaunch repair"
	if unreadable {
		h.wantFailure(9, []string{way}, "ls")
		h.wantFailure(9, []string{way}, "up", "apple", "--image", "probe")
		return
	}
	if r := h.want(0, "ls"); !strings.Contains(r.stderr, `machine "apple": runs without a record`) || !strings.Contains(r.stderr, way) {
		h.t.Errorf("want it to tell of the machines: %s", r)
	}
	if r := h.want(4, "up", "apple", "--image", "probe"); !strings.Contains(r.stderr, way) {
		h.t.Errorf("want the way out: %s", r)
	}
}

// wantRepaired loses the state and asks that Linux machines that run are adopted as
// they were.
func (h *host) wantRepaired(names ...string) {
	h.t.Helper()
	before := map[string]machine{}
	for _, name := range names {
		before[name] = h.inspect(name)
	}
	if err := os.Remove(filepath.Join(h.root, "state", "state.db")); err != nil {
		h.t.Fatal(err)
	}
	h.must("repair")
	for _, name := range names {
		h.wantName(linux, name)
		if after := h.inspect(name); after != before[name] {
			h.t.Errorf("the machine is %+v, want %+v", after, before[name])
		}
	}
}

// Issue B: while a machine is down, its namespace is made anew under the same
// name in the other mode. It starts there, and has its old CID in the new space,
// unless it was made for the one mode.
func TestNamespaceMadeAnewInTheOtherMode(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	for _, modes := range [][2]string{{"local", "global"}, {"global", "local"}} {
		t.Run(modes[0]+" to "+modes[1], func(t *testing.T) {
			h := newHost(t)
			h.netns("cell", modes[0])
			h.must("up", "apple", "--image", "probe", "--netns", "cell", "--cid", "42")
			h.must("up", "berry", "--image", "probe", "--netns", "cell", "--vsock", modes[0])
			h.must("stop", "apple", "berry")
			if err := netns.Remove("cell"); err != nil { // as `ip netns del` does
				t.Fatal(err)
			}
			h.netns("cell", modes[1])
			h.wantFailure(4, []string{"cell", modes[1], modes[0]}, "start", "berry")
			h.must("start", "apple")
			if m := h.inspect("apple"); m.CID != 42 || m.Mode != modes[1] || !m.Ready {
				t.Errorf("started: %+v, want cid 42 and mode %s", m, modes[1])
			}
			h.wantName(probe, "apple")
			h.must("down", "apple", "berry")
			h.must("netns", "rm", "cell")
			h.wantClean()
		})
	}
}
