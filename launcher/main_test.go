package launcher

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/internal/fakeqemu"
	"github.com/vmlaunch/vmlaunch/vsock"
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
	if len(os.Args) == 5 && os.Args[2] == ServePortsVerb { // see newLauncher
		os.Exit(beForwarder())
	}
	if last, ok := os.LookupEnv(envDaemon); ok {
		os.Exit(beDaemon(last))
	}
	if step := os.Getenv(envKillAt); step != "" {
		os.Exit(beKilled(step))
	}
	os.Exit(m.Run())
}

// beForwarder is the daemon that serves a machine's ports.
func beForwarder() int {
	l := newLauncher(os.Args[1], true)
	if err := l.ServePorts(context.Background(), os.Args[3], os.Args[4], func(text string) { fmt.Println(text) }); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// beKilled does a verb and is killed at step. It returns only if that did not
// happen.
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
	if err == nil {
		err = verbs(l)[os.Getenv(envVerb)](ctx, spec)
	}
	fmt.Fprintln(os.Stderr, "was not killed:", err)
	return 1
}

// verbs are the verbs of VerbSteps, on the machine or the namespace of a spec.
func verbs(l *Launcher) map[string]func(context.Context, configs.Machine) error {
	return map[string]func(context.Context, configs.Machine) error{
		"up": func(ctx context.Context, m configs.Machine) error {
			_, err := l.Launch(ctx, m, Detached())
			return err
		},
		"start": func(ctx context.Context, m configs.Machine) error {
			_, err := l.Start(ctx, m.Name, Detached())
			return err
		},
		"restart": func(ctx context.Context, m configs.Machine) error {
			if err := l.Stop(ctx, m.Name, time.Minute); err != nil {
				return err
			}
			_, err := l.Start(ctx, m.Name, Detached())
			return err
		},
		"stop":         func(ctx context.Context, m configs.Machine) error { return l.Stop(ctx, m.Name, time.Minute) },
		"kill":         func(ctx context.Context, m configs.Machine) error { return l.Kill(ctx, m.Name) },
		"rm":           func(ctx context.Context, m configs.Machine) error { return l.Remove(ctx, m.Name, false) },
		"down":         func(ctx context.Context, m configs.Machine) error { return l.Down(ctx, m.Name, time.Minute) },
		"netns create": func(ctx context.Context, m configs.Machine) error { return l.CreateNetns(ctx, m.Netns, vsock.Global) },
		"netns rm":     func(ctx context.Context, m configs.Machine) error { return l.RemoveNetns(ctx, m.Netns) },
	}
}
