package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/vmlaunch/vmlaunch/cidalloc"
	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/image"
	"github.com/vmlaunch/vmlaunch/internal/layout"
	"github.com/vmlaunch/vmlaunch/launcher"
	"github.com/vmlaunch/vmlaunch/nest"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want Code
	}{
		{"none", nil, 0},
		{"unknown", errors.New("no space left on device"), 1},
		{"usage", usagef("unknown flag"), 2},
		{"reserved cid", fmt.Errorf("cid 2: %w", vsock.ErrBadCID), 2},
		{"blueprint", configs.Errors{{Field: "memory", Value: "1M", Problem: "want more"}}, 2},
		{"bad name of a namespace", netns.ErrBadName, 2},
		{"bad mode", vsock.ErrBadMode, 2},
		{"bad disk image", fmt.Errorf("up: %w", &image.DiskError{Path: "/x"}), 2},
		{"not found", fmt.Errorf("machine: %w", fs.ErrNotExist), 3},
		{"exists", fs.ErrExist, 4},
		{"wrong phase", &launcher.PhaseError{Name: "web"}, 4},
		{"namespace in use", &launcher.InUseError{Netns: "red", Machines: []string{"web"}}, 4},
		{"disk image in use", &launcher.ImageInUseError{Path: "/x"}, 4},
		{"cid taken", fmt.Errorf("up: %w", cidalloc.ErrTaken), 5},
		{"no cid left", cidalloc.ErrExhausted, 5},
		{"missing device", &vsock.MissingError{What: "/dev/vhost-vsock"}, 6},
		{"missing device, as a file", errors.Join(&vsock.MissingError{What: "x"}, fs.ErrNotExist), 6},
		{"no permission", &fs.PathError{Op: "open", Path: "/x", Err: syscall.EACCES}, 6},
		{"deadline", context.DeadlineExceeded, 7},
		{"locked state", store.ErrLocked, 7},
		{"guest did not boot", &launcher.BootError{Name: "web"}, 8},
		{"nest did not boot", &nest.BootError{Err: context.DeadlineExceeded}, 8},
		{"newer state", &store.SchemaError{Have: 9, Want: 1}, 9},
		{"damaged state", store.ErrCorrupt, 9},
		{"some failed", &PartialError{Failed: 1, Of: 2, Errs: []error{fs.ErrNotExist}}, 10},
		{"exec failed", &ownFailure{fs.ErrNotExist}, 125},
		{"the program's own code", exitStatus(42), 42},
		{"interrupted", fmt.Errorf("wait: %w", context.Canceled), 130},
		{"interrupted, undo failed", errors.Join(context.Canceled, fs.ErrNotExist), 130},
		{"exec interrupted", &ownFailure{context.Canceled}, 130},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Of(c.err); got != c.want {
				t.Errorf("Of(%v) = %d, want %d", c.err, got, c.want)
			}
		})
	}
}

// TestProgramsOwnCode shows that a program's exit code is passed through without
// a word of ours, and that our failure to run it has both.
func TestProgramsOwnCode(t *testing.T) {
	for _, c := range []struct {
		exit int
		err  error
		want Code
		said string
	}{
		{0, nil, 0, ""},
		{1, nil, 1, ""},
		{3, nil, 3, ""},
		{255, nil, 255, ""},
		{0, fs.ErrNotExist, 125, "vmlaunch: file does not exist\n"},
	} {
		var stderr bytes.Buffer
		a := &app{host: Host{Err: &stderr}, started: true}
		if got := a.finish(t.Context(), passThrough(c.exit, c.err)); got != c.want || stderr.String() != c.said {
			t.Errorf("exit %d, %v: got code %d and %q, want %d and %q", c.exit, c.err, got, stderr.String(), c.want, c.said)
		}
	}
}

func TestForEachGoesOn(t *testing.T) {
	boom := func(bad ...string) func(string) error {
		return func(name string) error {
			for _, b := range bad {
				if b == name {
					return fmt.Errorf("machine %q: %w", name, fs.ErrNotExist)
				}
			}
			return nil
		}
	}
	names := []string{"a", "b"}
	for _, c := range []struct {
		name string
		bad  []string
		want Code
	}{
		{"none fails", nil, OK},
		{"one fails", []string{"a"}, Partial},
		{"all fail alike", names, NotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			var called atomic.Int32
			err := forEach(t.Context(), names, func(_ context.Context, name string) error { called.Add(1); return boom(c.bad...)(name) })
			if got := Of(err); got != c.want || int(called.Load()) != len(names) {
				t.Errorf("exit code %d after %d calls, want %d after %d: %v", got, called.Load(), c.want, len(names), err)
			}
		})
	}
}

// TestDocsExitCodes holds the tables in docs/ERRORS.md and README.md to the
// code. `make docs` rewrites them.
func TestDocsExitCodes(t *testing.T) {
	for _, file := range []string{"docs/ERRORS.md", "README.md"} {
		layout.Block(t, file, "exit codes", exitTable(file == "docs/ERRORS.md"))
	}
}

// exitTable writes the exit codes as Markdown, with the errors behind them if
// forms is set.
func exitTable(forms bool) string {
	var b strings.Builder
	head := []string{"| code | means |", "|---|---|"}
	if forms {
		head = []string{"| code | means | errors |", "|---|---|---|"}
	}
	fmt.Fprintln(&b, strings.Join(head, "\n"))
	for _, m := range meanings() {
		fmt.Fprintf(&b, "| %s | %s |", m.code, m.text)
		if forms {
			fmt.Fprintf(&b, " %s |", strings.Join(formsOf(m), ", "))
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}

func formsOf(m meaning) []string {
	var forms []string
	for _, c := range causes() {
		if fmt.Sprint(int(c.code)) == m.code {
			forms = append(forms, c.form)
		}
	}
	return forms
}
