package image

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// TestGuestWithoutAgent: a program that make did not build says so.
func TestGuestWithoutAgent(t *testing.T) {
	_, err := builtIn("no-such-file", "boot a guest")
	var missing *MissingError
	if !errors.As(err, &missing) || !errors.Is(err, errors.ErrUnsupported) {
		t.Fatalf("got %v, want a MissingError", err)
	}
	if want := "no no-such-file in this build, needed to boot a guest (build with: make)"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

func TestBusyboxGoesAfterRealPrograms(t *testing.T) {
	s := Shell{path: os.Args[0], applets: []string{"ip", "sh"}}
	var b strings.Builder
	a := NewArchive(&b)
	a.File("/usr/sbin/ip", 0o755, []byte("the real one"))
	s.Add(a)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if a.Has("/bin/ip") || !a.Has("/bin/sh") || !a.Has("/sbin/modprobe") {
		t.Errorf("ip %v, sh %v, modprobe %v: want the applet only where there is no program", a.Has("/bin/ip"), a.Has("/bin/sh"), a.Has("/sbin/modprobe"))
	}
}
