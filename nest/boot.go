package nest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
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

	// tryTime bounds one attempt to connect.
	tryTime = 10 * time.Second

	// firstWait is how long the first attempt waits for the agent's first byte;
	// each next one waits half as long again, up to tryTime. QEMU's network
	// takes a connection long before the nest can, and repeats what the nest
	// has missed only after 6 s: a fresh attempt is quicker.
	firstWait = 500 * time.Millisecond

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
	var watch sync.WaitGroup
	watch.Go(func() { // ends with QEMU, or when limit does
		if n.record.QEMU.Wait(limit) == nil {
			died(proc.ErrGone)
		}
	})
	defer watch.Wait()
	defer died(nil)

	for wait := firstWait; ; wait = min(wait+wait/2, tryTime) {
		last := n.try(limit, wait)
		if last == nil {
			return nil
		}
		select {
		case <-limit.Done():
			if err := ctx.Err(); err != nil {
				return err
			}
			if errors.Is(context.Cause(limit), proc.ErrGone) {
				return newBootError(n.dir, fmt.Errorf("qemu has ended: %w", proc.ErrGone))
			}
			return newBootError(n.dir, fmt.Errorf("no answer for %v: %w (%w)", bootTime, context.DeadlineExceeded, last))
		case <-time.After(tryPause):
		}
	}
}

// try makes one connection, and gives up early if the agent says nothing for
// the time wait.
func (n *Nest) try(ctx context.Context, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	conn, err := n.dialPort(ctx)
	if err != nil {
		return err
	}
	heard, err := hear(conn, wait)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	c, err := n.handshake(ctx, heard)
	if err != nil {
		return err
	}
	return c.Close()
}

// A heardConn is a connection of which the first byte was read already.
type heardConn struct {
	net.Conn
	first io.Reader
}

func (c heardConn) Read(p []byte) (int, error) { return c.first.Read(p) }

// hear waits for the first byte on conn, which stays the caller's. An SSH
// server speaks first, as the client does.
func hear(conn net.Conn, wait time.Duration) (net.Conn, error) {
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return nil, err
	}
	var b [1]byte
	if _, err := io.ReadFull(conn, b[:]); err != nil {
		return nil, fmt.Errorf("agent's greeting: %w", err)
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	return heardConn{conn, io.MultiReader(bytes.NewReader(b[:]), conn)}, nil
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
