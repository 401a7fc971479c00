package vsock_test

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"testing"

	mdvsock "github.com/mdlayher/vsock"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/vsock"
	"golang.org/x/sys/unix"
)

// inNewNamespace calls fn on a thread in a network namespace of its own, which
// dies with the thread.
func inNewNamespace(t *testing.T, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("unshare: %v", err)
			return
		}
		fn()
	}()
	<-done
}

func TestFact1ModesAreKnownByTheKnob(t *testing.T) {
	got, err := vsock.Modes()
	if err != nil {
		t.Fatal(err)
	}
	_, statErr := os.Stat("/proc/sys/net/vsock/ns_mode")
	if want := statErr == nil; got != want {
		t.Errorf("Modes is %v, knob there is %v", got, want)
	}
	m, err := vsock.ModeHere()
	if err != nil || m != vsock.Global {
		t.Errorf("mode of the host's namespace: got %v, %v; want global", m, err)
	}
}

func TestWithoutModesEverythingIsGlobal(t *testing.T) {
	testenv.Require(t, testenv.NoModes)
	if has, err := vsock.Modes(); has || err != nil {
		t.Errorf("Modes: got %v, %v; want false", has, err)
	}
	if m, err := vsock.ChildMode(); m != vsock.Global || err != nil {
		t.Errorf("ChildMode: got %v, %v; want global", m, err)
	}
	for _, m := range []vsock.Mode{vsock.Global, vsock.Local} {
		if err := vsock.SetChildMode(m); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("SetChildMode(%v): got %v, want unsupported", m, err)
		}
	}
}

func TestFact2And3ChildModeIsWrittenOnce(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VsockModes)
	for _, first := range []vsock.Mode{vsock.Global, vsock.Local} {
		second := vsock.Global + vsock.Local - first
		inNewNamespace(t, func() {
			if err := vsock.SetChildMode(0); !errors.Is(err, vsock.ErrBadMode) {
				t.Errorf("set to no mode: got %v, want ErrBadMode", err)
			}
			if err := vsock.SetChildMode(first); err != nil {
				t.Errorf("first write of %v: %v", first, err)
			}
			if err := vsock.SetChildMode(first); err != nil {
				t.Errorf("same again: %v", err)
			}
			if err := vsock.SetChildMode(second); !errors.Is(err, vsock.ErrLocked) {
				t.Errorf("%v after %v: got %v, want ErrLocked", second, first, err)
			}
			if m, err := vsock.ChildMode(); m != first || err != nil {
				t.Errorf("child mode: got %v, %v; want %v", m, err, first)
			}
			if m, err := vsock.ModeHere(); m != vsock.Global || err != nil {
				t.Errorf("own mode: got %v, %v; want global, untouched", m, err)
			}
		})
	}
}

func TestFact4LocalStaysLocal(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VsockModes)
	inNewNamespace(t, func() {
		if err := vsock.SetChildMode(vsock.Local); err != nil {
			t.Error(err)
			return
		}
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		for name, mode := range map[string]func() (vsock.Mode, error){"own": vsock.ModeHere, "child": vsock.ChildMode} {
			if m, err := mode(); m != vsock.Local || err != nil {
				t.Errorf("%s mode: got %v, %v; want local", name, m, err)
			}
		}
		if err := vsock.SetChildMode(vsock.Global); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("global children of a local one: got %v, want permission", err)
		}
		if err := vsock.SetChildMode(vsock.Local); err != nil {
			t.Errorf("local children of a local one: %v", err)
		}
	})
	if m, err := vsock.ChildMode(); m != vsock.Global || err != nil {
		t.Errorf("child mode of the host's namespace: got %v, %v; want global", m, err)
	}
}

func TestOwnCIDIsAGuestsOrNone(t *testing.T) {
	got, err := vsock.OwnCID()
	if _, statErr := os.Stat("/dev/vsock"); statErr != nil {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Fatalf("without /dev/vsock: got %v, %v; want unsupported", got, err)
		}
		return
	}
	raw, rawErr := mdvsock.ContextID()
	if err != nil || rawErr != nil {
		t.Fatalf("got %v; the library got %v", err, rawErr)
	}
	want := vsock.CID(raw)
	if !want.Guest() {
		want = vsock.Any
	}
	if got != want {
		t.Errorf("got %v, want %v (the kernel says %d)", got, want, raw)
	}
}
