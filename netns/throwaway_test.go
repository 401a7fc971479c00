package netns_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// TestThrowaway does to a host what nobody can take back: it locks the host's
// child_ns_mode and unloads vsock. Its parts build on each other.
func TestThrowaway(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes, testenv.Throwaway)
	local := create(t, "t-local", vsock.Local)
	donor := create(t, "t-donor", vsock.Global)
	steps := []struct {
		name string
		run  func(t *testing.T)
	}{
		{"nobody wrote the host's knob so far", firstWrite},
		{"fact 7: global by way of a named one", func(t *testing.T) { globalStill(t); localStill(t) }},
		{"fact 7: global by way of a process", func(t *testing.T) { globalThroughProcess(t, donor) }},
		{"fact 7: no way left", func(t *testing.T) { noGlobal(t, donor); localStill(t) }},
		{"fact 8: reload makes all global and unlocks", func(t *testing.T) { reload(t, local) }},
		{"locked to global: local still", lockedToGlobal},
	}
	for _, step := range steps {
		if !t.Run(step.name, step.run) {
			t.Fatal("the next parts mean nothing without this one")
		}
	}
}

// firstWrite shows that nothing since boot wrote the knob: the write that is
// not the default would be refused after any other.
func firstWrite(t *testing.T) {
	hostModes(t)
	if err := vsock.SetChildMode(vsock.Local); err != nil {
		t.Fatalf("somebody wrote it before: %v", err)
	}
	if err := vsock.SetChildMode(vsock.Global); !errors.Is(err, vsock.ErrLocked) {
		t.Fatalf("second write: got %v, want ErrLocked", err)
	}
}

func globalStill(t *testing.T) {
	t.Helper()
	n := create(t, "t-still", vsock.Global)
	if m, err := n.Mode(); m != vsock.Global || err != nil {
		t.Errorf("mode: got %v, %v; want global", m, err)
	}
	if s, err := netns.Host(); err != nil || s.Global != nil || s.Local != nil || s.ChildMode != vsock.Local {
		t.Errorf("host: got %+v, %v; want both possible and local children", s, err)
	}
}

func localStill(t *testing.T) {
	t.Helper()
	n := create(t, "t-still-local", vsock.Local)
	if m, err := n.Mode(); m != vsock.Local || err != nil {
		t.Errorf("mode: got %v, %v; want local", m, err)
	}
}

// globalThroughProcess leaves only a process in the last global namespace.
func globalThroughProcess(t *testing.T, donor *netns.NS) {
	if err := donor.Do(func() error { start(t, actor("stay")); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := netns.Remove("t-donor"); err != nil {
		t.Fatal(err)
	}
	globalStill(t)
}

func noGlobal(t *testing.T, donor *netns.NS) {
	if err := donor.Close(); err != nil {
		t.Fatal(err)
	}
	n, err := netns.Create("t-none", vsock.Global)
	locked, ok := errors.AsType[*netns.LockedError](err)
	if n != nil || !ok || !errors.Is(err, vsock.ErrLocked) || !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "only a reboot helps") {
		t.Fatalf("got %v, %v; want a LockedError that speaks of a reboot", n, err)
	}
	if locked.Tried < 1 || locked.Denied != 0 {
		t.Errorf("tried %d, denied %d; want the local one tried", locked.Tried, locked.Denied)
	}
	if _, err := os.Lstat("/run/netns/t-none"); err == nil {
		t.Error("a file is left")
	}
	s, err := netns.Host()
	if _, ok := errors.AsType[*netns.LockedError](s.Global); err != nil || !ok || s.Local != nil {
		t.Errorf("host: got %+v, %v; want global impossible", s, err)
	}
}

// reload unloads vsock while namespaces exist, and lets our code load it.
func reload(t *testing.T, local *netns.NS) {
	if m, err := local.Mode(); m != vsock.Local || err != nil {
		t.Fatalf("before: got %v, %v; want local", m, err)
	}
	testenv.UnloadVsock(t)
	if _, err := os.Stat("/proc/sys/net/vsock"); err == nil {
		t.Fatal("the knobs are there without the module")
	}
	if has, err := vsock.Modes(); !has || err != nil {
		t.Errorf("modes: got %v, %v; want vsock loaded by asking (fact 9)", has, err)
	}
	if m, err := local.Mode(); m != vsock.Global || err != nil {
		t.Errorf("after: got %v, %v; want global, as read anew", m, err)
	}
	hostModes(t)
	testenv.UnloadVsock(t)
	if _, err := vsock.Hold(42); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("hold without the module: got %v, want unsupported", err)
	}
	n := create(t, "t-after", vsock.Local) // which loads vsock first
	if m, err := n.Mode(); m != vsock.Local || err != nil {
		t.Errorf("made after: got %v, %v; want local", m, err)
	}
	if out, err := exec.Command("modprobe", "vhost_vsock").CombinedOutput(); err != nil {
		t.Errorf("modprobe: %v: %s", err, out)
	}
}

func lockedToGlobal(t *testing.T) {
	if err := vsock.SetChildMode(vsock.Global); err != nil {
		t.Fatal(err)
	}
	localStill(t)
	n := create(t, "t-global", vsock.Global)
	if m, err := n.Mode(); m != vsock.Global || err != nil {
		t.Errorf("mode: got %v, %v; want global", m, err)
	}
}
