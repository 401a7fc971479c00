package nest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vmlaunch/vmlaunch/internal/proc"
)

// A BootError says that the nested host did not come up, or ended by itself.
type BootError struct {
	Err  error
	Tail string // the last lines of the console and of QEMU's own output
}

func (e *BootError) Error() string {
	if e.Tail == "" {
		return e.Err.Error()
	}
	return e.Err.Error() + "\n" + e.Tail
}

func (e *BootError) Unwrap() error { return e.Err }

// tailLines is how much of console and log an error repeats.
const tailLines = 10

func newBootError(dir string, err error) *BootError {
	var tail []string
	for _, name := range []string{logFile, consoleFile} {
		tail = append(tail, lastLines(filepath.Join(dir, name), tailLines)...)
	}
	return &BootError{Err: err, Tail: strings.Join(tail, "\n")}
}

// lastLines returns a log's last lines that aren't empty. What can't be read
// has none: the error it is for is told all the same.
func lastLines(path string, n int) []string {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var lines []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, "  "+line)
		}
	}
	return lines[max(0, len(lines)-n):]
}

const (
	// bootTime bounds the time from QEMU's start to the agent's first answer.
	// It takes 4 to 8 s on two idle CPUs, some ten times that on a busy host.
	bootTime = 3 * time.Minute

	// tryTime bounds one attempt. QEMU's network takes a connection before
	// the nest can, and repeats what the nest has missed a second later.
	tryTime = 10 * time.Second

	// tryPause lies between attempts that were refused: the agent does not
	// listen yet.
	tryPause = 100 * time.Millisecond
)

// waitReady returns when the agent answers. It fails with a [*BootError] when
// QEMU ends before, or nothing has answered for [bootTime].
func (n *Nest) waitReady(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	limit, died := context.WithCancelCause(limit)
	defer died(nil)
	watched := make(chan struct{})
	go func() { // ends with QEMU, or when limit does
		defer close(watched)
		if n.record.QEMU.Wait(limit) == nil {
			died(proc.ErrGone)
		}
	}()
	defer func() { <-watched }()
	defer died(nil)

	var last error
	for {
		if last = n.try(limit); last == nil {
			return nil
		}
		select {
		case <-limit.Done():
			if err := ctx.Err(); err != nil {
				return err
			}
			if context.Cause(limit) == proc.ErrGone {
				return newBootError(n.dir, fmt.Errorf("qemu has ended: %w", proc.ErrGone))
			}
			return newBootError(n.dir, fmt.Errorf("no answer for %v: %w (%w)", bootTime, context.DeadlineExceeded, last))
		case <-time.After(tryPause):
		}
	}
}

func (n *Nest) try(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	c, err := n.connect(ctx)
	if err != nil {
		return err
	}
	return c.Close()
}

// A tailWriter keeps the end of what is written to it.
type tailWriter struct{ b []byte }

const tailBytes = 1 << 10

func (t *tailWriter) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-tailBytes):]
	return len(p), nil
}

func (t *tailWriter) String() string { return strings.TrimSpace(string(t.b)) }
