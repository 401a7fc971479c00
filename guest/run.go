package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// partingTime is what the guest gets to confirm the end of a program that was
// cancelled. A guest that hangs or is paused never does.
const partingTime = time.Second

// ErrGone is returned when the connection ended before the program did: the
// guest was reset, powered off or killed, or the client was closed.
var ErrGone = errors.New("the connection to the guest ended first")

// errRefused is returned for a request that the guest does not grant.
var errRefused = errors.New("refused by the guest")

// Run runs a program in the guest and returns its exit code, or 128 plus the
// number of the signal that it died of. It returns when the program has ended
// and all its output is written; a writer that blocks holds it up.
//
// When ctx ends the program gets a SIGTERM and loses its client, and Run
// returns ctx's cause. If the guest does not confirm that within a second, the
// whole connection is closed, and whatever else runs over it ends with
// [ErrGone].
//
// Run fails with [ErrGone] if the connection ends, and with the error of a
// stream that can't be read or written. All else is the program's own affair
// and an exit code: 127 if it does not exist, as from a shell.
func (c *Client) Run(ctx context.Context, cmd Command) (exit int, err error) {
	line, err := cmd.line()
	if err != nil {
		return 0, err
	}
	if ctx.Err() != nil {
		return 0, fmt.Errorf("run in guest: %w", context.Cause(ctx))
	}
	r := &run{cmd: cmd, opened: make(chan struct{}), over: make(chan struct{})}
	parted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(parted)
		r.part(c)
	})
	exit, err = r.through(c, line) //nolint:contextcheck // part ends it when ctx does
	close(r.over)
	if stop() {
		return exit, err
	}
	<-parted // soon: it was only waiting for over
	if err != nil {
		return 0, fmt.Errorf("run in guest: %w", context.Cause(ctx))
	}
	return exit, nil // it had ended by itself
}

// A run is one program on its way.
type run struct {
	cmd    Command
	ch     ssh.Channel
	opened chan struct{} // closed when ch is there
	over   chan struct{} // closed when the run is over
	exit   exitState

	mu    sync.Mutex
	cause error // the first stream that failed
}

// part takes leave of a program that nobody waits for any more.
func (r *run) part(c *Client) {
	closed := make(chan struct{})
	late := time.AfterFunc(partingTime, func() {
		defer close(closed)
		_ = c.conn.Close() // wakes everybody who waits
	})
	defer func() {
		if !late.Stop() {
			<-closed
		}
	}()
	select {
	case <-r.opened:
		_, _ = r.ch.SendRequest("signal", false, ssh.Marshal(struct{ Name string }{"TERM"}))
		_ = r.ch.Close()
	case <-r.over:
	}
	<-r.over
}

// through runs the program from the opening of its channel to the end of it.
func (r *run) through(c *Client, line string) (int, error) {
	ch, requests, err := c.open(context.Background(), "session", nil)
	if err != nil {
		return 0, err
	}
	r.ch = ch
	close(r.opened)
	listened := make(chan struct{})
	go func() { // ends with the channel, whoever closes it
		defer close(listened)
		r.exit.listen(requests)
	}()
	if err := r.begin(line); err != nil {
		_ = ch.Close()
		<-listened
		return 0, err
	}
	r.carry(listened)
	if err := r.failure(); err != nil {
		return 0, err
	}
	return r.exit.code()
}

// begin asks for the terminal and the program.
func (r *run) begin(line string) error {
	if r.cmd.TTY {
		if err := r.request("pty-req", r.cmd.terminalRequest()); err != nil {
			return err
		}
	}
	if r.cmd.subsystem != "" {
		return r.request("subsystem", ssh.Marshal(struct{ Name string }{r.cmd.subsystem}))
	}
	if line == "" {
		return r.request("shell", nil)
	}
	return r.request("exec", ssh.Marshal(struct{ Line string }{line}))
}

func (r *run) request(name string, payload []byte) error {
	granted, err := r.ch.SendRequest(name, true, payload)
	if err != nil {
		return fmt.Errorf("%s: %w", name, gone(err))
	}
	if !granted {
		return fmt.Errorf("%s: %w", name, errRefused)
	}
	return nil
}

// carry carries the streams and returns when the channel is closed and all
// output written.
func (r *run) carry(listened <-chan struct{}) {
	restore := r.takeTerminal()
	defer restore()
	stopInput := r.carryInput()
	defer stopInput()
	stdout, stderr := r.cmd.Stdout, r.cmd.Stderr
	if stdout != nil && stdout == stderr {
		stdout = &turns{w: stdout}
		stderr = stdout
	}
	var out sync.WaitGroup
	out.Go(func() { r.carryOutput("stdout", stdout, r.ch) })
	out.Go(func() { r.carryOutput("stderr", stderr, r.ch.Stderr()) })
	out.Wait()
	<-listened
}

// turns lets two streams that go to one writer take turns.
type turns struct {
	mu sync.Mutex
	w  io.Writer
}

func (t *turns) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.w.Write(p)
}

// carryOutput copies one stream. If it can't be written the program loses its
// client, as one in a broken pipeline does.
func (r *run) carryOutput(name string, to io.Writer, from io.Reader) {
	if to == nil {
		to = io.Discard
	}
	if _, err := io.Copy(to, from); err != nil {
		r.fail(fmt.Errorf("write %s: %w", name, err))
		_ = r.ch.Close()
	}
}

// fail keeps the first cause.
func (r *run) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cause == nil {
		r.cause = err
	}
}

func (r *run) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cause
}

// gone gives the end of a connection its name. The SSH library knows several:
// each comes from a closed channel or transport, none from the guest's answer.
func gone(err error) error {
	var refused *ssh.OpenChannelError
	if errors.As(err, &refused) {
		return fmt.Errorf("%w: %s", errRefused, refused.Message)
	}
	return fmt.Errorf("%w: %w", ErrGone, err)
}
