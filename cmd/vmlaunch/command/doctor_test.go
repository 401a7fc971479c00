package command

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

func TestKnownBadKernels(t *testing.T) {
	for release, want := range map[string]bool{
		"7.0.0-1-cloud-amd64": true,
		"7.0.8":               true,
		"7.0":                 true,
		"7.0-rc4":             true,
		"7.0.9":               false,
		"7.0.10":              false,
		"7.3.4+deb13":         false,
		"6.12.107":            false,
	} {
		if got := knownBad(release); got != want {
			t.Errorf("knownBad(%q) = %v, want %v", release, got, want)
		}
	}
}

// TestDoctor looks at the host the test runs on: what it says has to agree with
// what tests find by other ways.
func TestDoctor(t *testing.T) {
	got := vmlaunch(t, "doctor", "-o", "json")
	var d doctorJSON
	if err := json.Unmarshal([]byte(got.stdout), &d); err != nil {
		t.Fatalf("%v: %s%s", err, got.stdout, got.stderr)
	}
	if able := got.code == OK; able != d.Able || !able && got.code != Unable {
		t.Errorf("exit code %d, able %v", got.code, d.Able)
	}
	i := slices.IndexFunc(d.Checks, func(c check) bool { return c.Name == "vhost-vsock" })
	if i < 0 {
		t.Fatalf("no check of vhost-vsock in %+v", d.Checks)
	}
	c := d.Checks[i]
	if there := testenv.Has(testenv.VhostVsock); there != (c.Result == good) {
		t.Errorf("vhost-vsock is there: %v, doctor says %+v", there, c)
	}
	if c.Result == missing && c.Remedy == "" {
		t.Errorf("no remedy: %+v", c)
	}
}

// TestCommandsThatOnlyLook work on every machine.
func TestCommandsThatOnlyLook(t *testing.T) {
	for _, args := range [][]string{{"ls"}, {"version"}, {"image", "ls"}, {"cid", "ls"}, {"nest", "ls"}, {"netns", "ls"}, {"completion", "bash"}} {
		if got := vmlaunch(t, args...); got.code != OK || got.stdout == "" {
			t.Errorf("%q: exit code %d, %s", args, got.code, got.stderr)
		}
	}
}

// TestUpWithoutTheDevice says what is missing and how to get it.
func TestUpWithoutTheDevice(t *testing.T) {
	if testenv.Has(testenv.VhostVsock) {
		t.Skip("there is one; e2e uses it")
	}
	for _, args := range [][]string{{"up", "web", "--image", "probe"}, {"run", "web", "--image", "probe"}} {
		got := vmlaunch(t, args...)
		want := "vmlaunch: no /dev/vhost-vsock, needed to give a guest its vsock (try: modprobe vhost_vsock, or --nest)\n"
		if got.code != Unable || got.stderr != want {
			t.Errorf("%q: exit code %d, %s", args, got.code, got.stderr)
		}
	}
}
