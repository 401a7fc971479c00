package e2e

import (
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// Issue A, j: each wrong input gives one clear line and its exit code, and
// changes nothing.
func TestWrongInput(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock)
	h := newHost(t)
	for _, c := range []struct {
		name  string
		code  int
		words []string
		args  []string
	}{
		{"reserved CID", 2, []string{"cid", "2", "3 to 4294967294"}, []string{"up", "apple", "--cid", "2"}},
		{"CID that is no number", 2, []string{"cid", "many"}, []string{"up", "apple", "--cid", "many"}},
		{"CID beyond 32 bits", 2, []string{"cid"}, []string{"up", "apple", "--cid", "4294967295"}},
		{"unknown namespace", 3, []string{`netns "nowhere"`, "vmlaunch netns create nowhere"}, []string{"up", "apple", "--image", "probe", "--netns", "nowhere"}},
		{"namespace that escapes", 2, []string{"../etc"}, []string{"netns", "create", "../etc", "--vsock", "local"}},
		{"unknown mode", 2, []string{"lokal"}, []string{"netns", "create", "cell", "--vsock", "lokal"}},
		{"missing image", 3, []string{"/no/such.qcow2"}, []string{"up", "apple", "--image", "/no/such.qcow2"}},
		{"missing kernel", 3, []string{"/no/such/vmlinux"}, []string{"up", "apple", "--kernel", "/no/such/vmlinux"}},
		{"bad memory", 2, []string{"memory", "lots"}, []string{"up", "apple", "--memory", "lots"}},
		{"no memory", 2, []string{"memory"}, []string{"up", "apple", "--memory", "0"}},
		{"no cpus", 2, []string{"cpus"}, []string{"up", "apple", "--cpus", "0"}},
		{"name with a slash", 2, []string{"a/b"}, []string{"up", "a/b"}},
		{"name with dots only", 2, []string{".."}, []string{"up", ".."}},
		{"unknown machine", 3, []string{`machine "nobody"`}, []string{"stop", "nobody"}},
		{"exec in an unknown machine", 125, []string{`machine "nobody"`}, []string{"exec", "nobody", "--", "true"}},
		{"unknown command", 2, []string{"frobnicate"}, []string{"frobnicate"}},
		{"unknown flag", 2, []string{"--frob"}, []string{"ls", "--frob"}},
		{"stray argument", 2, []string{"stray"}, []string{"version", "stray"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			sub := *h
			sub.t = t
			sub.wantFailure(c.code, c.words, c.args...)
			if m := sub.list(); len(m) != 0 {
				t.Errorf("machines appeared: %v", m)
			}
			sub.wantClean()
		})
	}
}
