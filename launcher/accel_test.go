package launcher

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/internal/paths"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// TestAccelGuestMatchesItsSource assembles the trial guest again.
func TestAccelGuestMatchesItsSource(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("needs gcc, as building vmlaunch does")
	}
	dir := t.TempDir()
	object, code := filepath.Join(dir, "accel.o"), filepath.Join(dir, "accel.bin")
	for _, c := range []*exec.Cmd{
		exec.Command("gcc", "-c", "-o", object, "testdata/accel.S"),
		exec.Command("objcopy", "-O", "binary", "-j", ".text", object, code),
	} {
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", c.Args, err, out)
		}
	}
	got, err := os.ReadFile(code)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, []byte(trialGuest)) {
		t.Errorf("trial.go is out of date, want:\n%x", got)
	}
}

func TestTrialPassesUnderEmulation(t *testing.T) {
	testenv.Require(t, testenv.QEMU)
	qemu, err := findQEMU("qemu-system-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	if failure, err := runTrial(t.Context(), qemu, configs.AccelTCG); failure != "" || err != nil {
		t.Errorf("got %q, %v, want no failure", failure, err)
	}
}

// script makes a program that stands in for QEMU in a trial.
func script(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "qemu")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTrialNamesTheFailure(t *testing.T) {
	for _, c := range []struct{ name, body, want string }{
		{"passes", "exit 33", ""},
		{"refused", "echo 'qemu: failed to initialize kvm: Operation not permitted' >&2; exit 1",
			"/dev/kvm opens, but a guest does not get to its end in it: qemu: failed to initialize kvm: Operation not permitted"},
		{"aborts", "echo 'error: failed to set MSR 0x48f' >&2; kill -ABRT $$",
			"/dev/kvm opens, but a guest does not get to its end in it: error: failed to set MSR 0x48f"},
		{"ends early", "exit 0", "/dev/kvm opens, but a guest does not get to its end in it"},
		{"hangs", "echo 'KVM internal error. Suberror: 1' >&2; exec sleep 60",
			"/dev/kvm opens, but a guest hangs in it (gave up after 3s): KVM internal error. Suberror: 1"},
	} {
		path := script(t, c.body) // while nothing forks: a child would keep it open for writing, and busy
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := runTrial(t.Context(), path, configs.AccelKVM)
			if err != nil || got != c.want {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
	if got, err := runTrial(t.Context(), "/nonexistent/qemu", configs.AccelKVM); err == nil {
		t.Errorf("without QEMU: got %q, want an error", got)
	}
}

// TestKVMIsTriedOncePerBoot asks twice; the second answer comes from the cache.
func TestKVMIsTriedOncePerBoot(t *testing.T) {
	testenv.Require(t, testenv.KVM)
	count := filepath.Join(t.TempDir(), "count")
	qemu := script(t, "echo x >> "+count+"; echo broken >&2; exit 1")
	l := New(Config{Dirs: paths.Dirs{Cache: t.TempDir()}})
	for range 2 {
		a, err := l.Accel(t.Context(), qemu)
		if err != nil || a.Name != configs.AccelTCG || !strings.Contains(a.Reason, "broken") {
			t.Errorf("auto: got %+v, %v, want tcg with the reason", a, err)
		}
	}
	_, err := l.chooseAccel(t.Context(), qemu, configs.AccelKVM)
	if err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("kvm: got %v, want a refusal with the reason", err)
	}
	if a, err := l.chooseAccel(t.Context(), qemu, configs.AccelTCG); err != nil || a.Name != configs.AccelTCG {
		t.Errorf("tcg: got %+v, %v", a, err)
	}
	if runs, err := os.ReadFile(count); err != nil || len(runs) != 2 {
		t.Errorf("QEMU was tried %d times (%v), want once", len(runs)/2, err)
	}
}

func TestVerdictThatWasCutOffIsNoVerdict(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.json")
	for _, text := range []string{"", `{"fail`} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, ok := readVerdict(path); ok {
			t.Errorf("%q: read as %q", text, got)
		}
	}
	if err := writeVerdict(path, "because"); err != nil {
		t.Fatal(err)
	}
	if got, ok := readVerdict(path); !ok || got != "because" {
		t.Errorf("got %q, %v, want what was written", got, ok)
	}
}
