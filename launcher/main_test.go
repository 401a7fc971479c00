package launcher

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/internal/fakeqemu"
)

// What makes this test binary a launcher that is killed at a step; see
// bench.killAt.
const (
	envKillAt = "VMLAUNCH_TEST_KILL_AT"
	envRoot   = "VMLAUNCH_TEST_ROOT"
	envSpec   = "VMLAUNCH_TEST_SPEC"
	envVerb   = "VMLAUNCH_TEST_VERB"
	envFake   = "VMLAUNCH_TEST_FAKE_CIDS"
)

func TestMain(m *testing.M) {
	fakeqemu.Main()
	if step := os.Getenv(envKillAt); step != "" {
		os.Exit(beKilled(step))
	}
	os.Exit(m.Run())
}

// beKilled launches or starts a machine and is killed at step. It returns only
// if that did not happen.
func beKilled(step string) int {
	l := newLauncher(os.Getenv(envRoot), os.Getenv(envFake) != "")
	l.Step = func(name string) {
		if name == step {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	spec, err := specFromText(os.Getenv(envSpec))
	if err == nil && os.Getenv(envVerb) == "start" {
		_, err = l.Start(ctx, spec.Name, Detached())
	} else if err == nil {
		_, err = l.Launch(ctx, spec, Detached())
	}
	fmt.Fprintln(os.Stderr, "was not killed:", err)
	return 1
}
