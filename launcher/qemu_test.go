package launcher

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/qmp"
)

// envQEMU names another QEMU to try our arguments on, as was done with 7.2.22,
// 10.0.2 and 11.1.3.
const envQEMU = "VMLAUNCH_TEST_QEMU"

// realQEMU returns the QEMU to try, or skips t.
func realQEMU(t *testing.T) string {
	t.Helper()
	testenv.Require(t, testenv.QEMU)
	return cmp.Or(os.Getenv(envQEMU), "qemu-system-x86_64")
}

// TestRealQEMUTakesOurArguments starts a real QEMU with all that we say to one,
// the vsock device aside, which needs the kernel's help.
func TestRealQEMUTakesOurArguments(t *testing.T) {
	qemu := realQEMU(t)
	for _, board := range []string{configs.BoardPC, configs.BoardQ35} {
		t.Run(board, func(t *testing.T) {
			dir := t.TempDir() + "/a,b" // a comma where it matters
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			rom := filepath.Join(dir, "rom")
			if err := os.WriteFile(rom, trialROM(), 0o600); err != nil {
				t.Fatal(err)
			}
			p := samplePlan(configs.Machine{Image: configs.ImageProbe, Board: board}, 1024, true)
			p.Firmware, p.ConsoleSocket, p.ConsoleLog, p.RebootEnds = rom, dir+"/console.sock", dir+"/console.log", true
			args := Args(p)
			i := slices.Index(args, "-device")
			log := converse(t, qemu, dir+"/qmp.sock", slices.Delete(args, i, i+2))
			if want := (ending{true, "QEMU was told to quit"}); readEnding(log) != want {
				t.Errorf("ending: got %+v, want %+v; the log: %s", readEnding(log), want, log)
			}
			if _, err := os.Stat(p.ConsoleLog); err != nil { // the socket went with QEMU
				t.Errorf("console: %v", err)
			}
		})
	}
}

// converse starts QEMU, lets it run, allows restarts, ends it and returns what it
// said.
func converse(t *testing.T, qemu, socket string, args []string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	f, err := qmp.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.CommandContext(ctx, qemu, args...)
	cmd.ExtraFiles = []*os.File{f}
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	c, err := qmp.Dial(ctx, socket)
	if err != nil {
		_ = cmd.Wait()
		t.Fatalf("%v; QEMU says: %s", err, &log)
	}
	defer c.Close()
	if s, err := c.Status(ctx); err != nil || s.Status != "prelaunch" {
		t.Errorf("run state: %+v, %v, want prelaunch", s, err)
	}
	err = errors.Join(
		c.Cont(ctx),
		c.Execute(ctx, "set-action", map[string]string{"reboot": "reset"}, nil),
		c.Quit(ctx),
	)
	if err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("QEMU: %v; it says: %s", err, &log)
	}
	return log.Bytes()
}

// TestReapOfNothingLeavesChildrenAlone: a machine without a QEMU has pid 0, which
// wait4(2) takes for any child.
func TestReapOfNothingLeavesChildrenAlone(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if id, err := proc.Identify(cmd.Process.Pid); err == nil { // else it has ended already
		if err := id.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if status, ok := reap(0); ok {
		t.Errorf("reaped %v", status)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("another child was reaped: %v", err)
	}
}
