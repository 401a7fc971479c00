package proc

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"
)

// child starts a process that ends when its standard input does, and ends it
// with the test. It returns once the process runs the program, not just forked.
func child(t *testing.T) (*exec.Cmd, func()) {
	t.Helper()
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Process.Kill(); cmd.Wait() })
	return cmd, func() { in.Close() }
}

func identify(t *testing.T, pid int) ID {
	t.Helper()
	id, err := Identify(pid)
	if err != nil {
		t.Fatalf("identify %d: %v", pid, err)
	}
	return id
}

func TestIdentifySaysTheSameTwice(t *testing.T) {
	cmd, _ := child(t)
	a, b := identify(t, cmd.Process.Pid), identify(t, cmd.Process.Pid)
	if a != b || a.IsZero() || a.Boot == "" || a.Start == 0 {
		t.Errorf("got %+v and %+v, want the same full name", a, b)
	}
	if !a.Alive() {
		t.Errorf("%v: not alive, want alive", a)
	}
	self, err := Self()
	if err != nil || self.PID != os.Getpid() || self == a {
		t.Errorf("Self: got %+v, %v", self, err)
	}
}

func TestStrangerUnderTheSamePIDIsNotTouched(t *testing.T) {
	cmd, _ := child(t)
	real := identify(t, cmd.Process.Pid)
	tests := map[string]ID{
		"other start time": {PID: real.PID, Start: real.Start - 1, Boot: real.Boot},
		"other boot":       {PID: real.PID, Start: real.Start, Boot: "earlier"},
	}
	for name, id := range tests {
		t.Run(name, func(t *testing.T) {
			if id.Alive() {
				t.Error("alive, want not")
			}
			if err := id.Signal(syscall.SIGKILL); !errors.Is(err, ErrGone) {
				t.Errorf("Signal: got %v, want ErrGone", err)
			}
			if err := id.Wait(t.Context()); err != nil {
				t.Errorf("Wait: got %v, want nil: that process has ended", err)
			}
		})
	}
	if !real.Alive() {
		t.Error("the stranger was killed")
	}
}

func TestZombieIsGone(t *testing.T) {
	cmd, end := child(t)
	id := identify(t, cmd.Process.Pid)
	end()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := id.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	// Nobody has called Wait on the command: the pid is still taken.
	if err := syscall.Kill(id.PID, 0); err != nil {
		t.Fatalf("not a zombie: %v", err)
	}
	if id.Alive() {
		t.Error("a zombie is alive, want not")
	}
	if err := id.Signal(syscall.SIGTERM); !errors.Is(err, ErrGone) {
		t.Errorf("Signal: got %v, want ErrGone", err)
	}
	if got, err := Identify(id.PID); !errors.Is(err, ErrGone) {
		t.Errorf("Identify: got %v, %v, want ErrGone", got, err)
	}
	if args, err := Cmdline(id.PID); err != nil || len(args) != 0 {
		t.Errorf("Cmdline: got %q, %v, want none", args, err)
	}
}

func TestSignalReaches(t *testing.T) {
	cmd, _ := child(t)
	id := identify(t, cmd.Process.Pid)
	if err := id.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("got %v, want death by SIGKILL", err)
	}
	if id.Alive() {
		t.Error("alive after being reaped")
	}
	if err := id.Signal(syscall.SIGKILL); !errors.Is(err, ErrGone) {
		t.Errorf("Signal: got %v, want ErrGone", err)
	}
}

func TestWaitEndsWithContext(t *testing.T) {
	cmd, _ := child(t)
	id := identify(t, cmd.Process.Pid)
	for name, make := range map[string]func() (context.Context, context.CancelFunc){
		"before": func() (context.Context, context.CancelFunc) { return cancelled(t) },
		"meanwhile": func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), 20*time.Millisecond)
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := make()
			defer cancel()
			if err := id.Wait(ctx); !errors.Is(err, ctx.Err()) || err == nil {
				t.Errorf("got %v, want %v", err, ctx.Err())
			}
		})
	}
	if !id.Alive() {
		t.Error("waiting killed the process")
	}
}

func cancelled(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx, cancel
}

func TestNoSuchProcess(t *testing.T) {
	for _, pid := range []int{0, -1, 1 << 30} {
		if id, err := Identify(pid); !errors.Is(err, ErrGone) {
			t.Errorf("Identify(%d): got %v, %v, want ErrGone", pid, id, err)
		}
	}
	if _, err := Cmdline(1 << 30); !errors.Is(err, ErrGone) {
		t.Errorf("Cmdline: got %v, want ErrGone", err)
	}
	if (ID{}).Alive() {
		t.Error("the zero ID is alive")
	}
}

func TestCmdline(t *testing.T) {
	cmd := exec.Command("sh", "-c", "echo; read x", "a b", "")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	if _, err := out.Read(make([]byte, 1)); err != nil { // in the midst of exec it is empty
		t.Fatal(err)
	}
	got, err := Cmdline(cmd.Process.Pid)
	if want := []string{"sh", "-c", "echo; read x", "a b", ""}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestIDKeepsItsNamesInJSON(t *testing.T) {
	got, err := json.Marshal(ID{PID: 1, Start: 2, Boot: "b"})
	if want := `{"pid":1,"start":2,"boot":"b"}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

// TestNoDescriptorStays counts open files over every call that opens one.
func TestNoDescriptorStays(t *testing.T) {
	cmd, _ := child(t)
	id := identify(t, cmd.Process.Pid)
	stale := ID{PID: id.PID, Start: id.Start + 1, Boot: id.Boot}
	before := openFiles(t)
	for range 8 {
		id.Alive()
		stale.Alive()
		id.Signal(0)
		stale.Signal(0)
		ctx, cancel := cancelled(t)
		id.Wait(ctx)
		cancel()
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files open, want %d", after, before)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}
