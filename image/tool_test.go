package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestToolFailureHasItsLastWords(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string
	}{
		"stderr":      {[]string{"sh", "-c", "for i in 1 2 3 4 5 6; do echo line $i >&2; done; exit 3"}, "sh -c: exit status 3: line 2; line 3; line 4; line 5; line 6"},
		"stdout only": {[]string{"sh", "-c", "echo out; exit 1"}, "sh -c: exit status 1: out"},
		"not there":   {[]string{"no-such-program"}, "no no-such-program, needed to test (try: nothing)"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := tool{args: tt.args, need: "test", hint: "try: nothing"}.run(t.Context())
			if err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if errors.Is(err, errors.ErrUnsupported) != (name == "not there") {
				t.Errorf("ErrUnsupported: %v", errors.Is(err, errors.ErrUnsupported))
			}
		})
	}
}

func TestToolHandsOnLines(t *testing.T) {
	var lines []string
	out, err := tool{args: []string{"printf", "a\nb\nrest"}, line: func(s string) { lines = append(lines, s) }}.run(t.Context())
	if err != nil || string(out) != "a\nb\nrest" || strings.Join(lines, "|") != "a|b" {
		t.Errorf("got %q, lines %q, %v", out, lines, err)
	}
}

// TestCancelledToolTakesItsChildrenAlong starts a program that starts another,
// as make does, and asks the kernel whether either is left.
func TestCancelledToolTakesItsChildrenAlong(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	tl := tool{args: []string{"sh", "-c", `sleep 1000 & echo $$ $! > "$0"; echo ready; wait`, pids}, line: func(string) { cancel() }}
	if _, err := tl.run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want that it was cancelled", err)
	}
	b, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); running(pid); {
			if time.Now().After(deadline) {
				t.Errorf("process %d still runs", pid)
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// running tells a process from a zombie that nobody has reaped yet.
func running(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}
