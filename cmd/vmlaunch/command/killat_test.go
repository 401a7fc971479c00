package command

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// diesAt makes the test binary a process with the hook of VMLAUNCH_TEST_KILL_AT.
const diesAt = "COMMAND_TEST_DIES_AT"

func TestMain(m *testing.M) {
	if step := os.Getenv(diesAt); step != "" {
		hook := killAt(step)
		hook("cid")
		hook("qemu")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestKillAt(t *testing.T) {
	for _, c := range []struct {
		step   string
		killed bool
	}{{"qemu", true}, {"cid", true}, {"monitor", false}} {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), diesAt+"="+c.step)
		err := cmd.Run()
		status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if killed := ok && status.Signaled() && status.Signal() == syscall.SIGKILL; killed != c.killed {
			t.Errorf("%s: %v, want it killed: %v", c.step, err, c.killed)
		}
	}
}
