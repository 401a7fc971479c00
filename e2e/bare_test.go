package e2e

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// Issue A, i: without /dev/vhost-vsock every command that has to give a machine
// its vsock says what is missing and both ways to get it, and changes nothing.
// What needs no machine works.
func TestHostWithoutVhostVsock(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.QEMU, testenv.NoVhostVsock)
	h := newHost(t)
	missing := []string{"no /dev/vhost-vsock", "modprobe vhost_vsock", "--nest"}
	for _, args := range [][]string{
		{"up"},
		{"up", "apple", "--image", "probe", "--cid", "42"},
		{"up", "apple", "--image", "probe", "--netns", "cell", "--vsock", "global"},
		{"up", "apple", "--image", "probe", "--detach"},
		{"run", "apple", "--image", "probe"},
	} {
		h.wantFailure(6, missing, args...)
	}
	checks := h.want(6, "doctor")
	for _, word := range []string{"vhost-vsock", "missing", "modprobe vhost_vsock"} {
		if !strings.Contains(checks.stdout, word) {
			t.Errorf("want %q in the checks: %s", word, checks)
		}
	}
	if m := h.list(); len(m) != 0 {
		t.Errorf("machines after the refusals: %v", m)
	}
	if got, err := filepath.Glob(filepath.Join(h.root, "state", "machines", "*")); err != nil || len(got) != 0 {
		t.Errorf("left in the state folder: %v, %v", got, err)
	}
	if _, err := os.Stat("/run/netns/cell"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the refused machine's namespace: %v, want none", err)
	}
	for _, args := range [][]string{{"ls"}, {"cid", "ls"}, {"netns", "ls"}, {"image", "ls"}, {"version"}} {
		h.must(args...)
	}
	h.wantFailure(3, []string{`"apple"`, "does not exist"}, "start", "apple")
}
