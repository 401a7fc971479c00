package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// A tool is one run of a program of this machine.
type tool struct {
	args []string
	dir  string   // "" for the current one
	env  []string // added to this process's
	need string   // what the program is needed for, for when it's missing
	hint string   // how to get it

	line func(string) // gets each line of standard output as it comes; may be nil
}

// toolGrace is how long a cancelled program's output is still waited for: its
// processes were killed, so all that is left is to read the pipes' rest.
const toolGrace = 5 * time.Second

// tailLines is how much of a failed program's last words an error repeats.
const tailLines = 5

// run runs the tool and returns its standard output. When ctx ends, the program
// and all that it started are killed. It fails with a [*MissingError] when the
// program isn't installed; other errors end with the program's last words.
func (t tool) run(ctx context.Context) ([]byte, error) {
	path, err := exec.LookPath(t.args[0])
	if err != nil {
		return nil, &MissingError{What: t.args[0], Need: t.need, Hint: t.hint}
	}
	cmd := exec.CommandContext(ctx, path, t.args[1:]...)
	cmd.Dir = t.dir
	cmd.Env = append(os.Environ(), append(t.env, "LC_ALL=C")...)
	// A group of its own, so that all of it can be killed, and so that Ctrl-C
	// on the terminal comes to us alone and ends it by way of ctx.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	//nolint:forbidigo // a child that is not reaped yet: the group is its
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = toolGrace
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if t.line != nil {
		cmd.Stdout = io.MultiWriter(&out, &lineWriter{line: t.line})
	}
	err = cmd.Run()
	if cerr := ctx.Err(); cerr != nil {
		return nil, fmt.Errorf("%s: %w", t, cerr)
	}
	if err != nil {
		words := errs.String()
		if strings.TrimSpace(words) == "" {
			words = out.String()
		}
		return nil, fmt.Errorf("%s: %w: %s", t, err, tail(words, tailLines))
	}
	return out.Bytes(), nil
}

// A lineWriter hands on what is written to it line by line.
type lineWriter struct {
	line func(string)
	rest []byte // of a line that has no end yet
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		line, rest, ok := bytes.Cut(w.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		w.line(string(line))
		w.rest = rest
	}
}

// String returns the program with its first argument: enough to know it by.
func (t tool) String() string { return strings.Join(t.args[:min(2, len(t.args))], " ") }

// tail returns the last n lines of text that aren't empty, on one line.
func tail(text string, n int) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}

// need fails with a [*MissingError] if one of the programs isn't installed.
func need(what, hint string, programs ...string) error {
	var errs []error
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			errs = append(errs, &MissingError{What: p, Need: what, Hint: hint})
		}
	}
	return errors.Join(errs...)
}
