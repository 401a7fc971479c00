package proc

import (
	"context"
	"os/exec"
	"testing"
	"time"
)

// TestMarked finds a process, and the one it starts, by a variable that only
// they have.
func TestMarked(t *testing.T) {
	const mark = "VMLAUNCH_TEST_MARK=of TestMarked\nin two lines"
	if ids, err := Marked(mark); err != nil || len(ids) != 0 {
		t.Fatalf("before: %v, %v, want none", ids, err)
	}
	cmd := exec.Command("sh", "-c", "sleep 600 & read line; kill $!")
	cmd.Env = []string{"PATH=/usr/bin:/bin", mark}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		_ = cmd.Wait()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		ids, err := Marked(mark)
		if err != nil {
			t.Fatal(err)
		}
		if len(ids) == 2 && ids[0].PID == cmd.Process.Pid {
			return // the shell and its child
		}
		if ctx.Err() != nil {
			t.Fatalf("found %v, want %d and its child", ids, cmd.Process.Pid)
		}
	}
}
