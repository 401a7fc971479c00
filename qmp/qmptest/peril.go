package qmptest

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/qmp"
)

// short is long enough for a call to be under way and to be given up.
const short = 50 * time.Millisecond

func quit(t *testing.T, p *Peer) {
	c := dial(t, p.Path)
	events := c.Subscribe()
	if err := c.Quit(t.Context()); err != nil {
		t.Fatal(err)
	}
	e := await(t, events, "SHUTDOWN")
	if e.Data["guest"] != false || e.Data["reason"] != "host-qmp-quit" {
		t.Errorf("got data %v, want the host's quit", e.Data)
	}
	if code := p.exit(t).ExitCode(); code != 0 {
		t.Errorf("QEMU exited with %d, want 0", code)
	}
	wantGone(t, c)
	if err := c.Quit(t.Context()); err != nil {
		t.Errorf("quit of a QEMU that has gone: %v, want nil", err)
	}
	if _, err := qmp.Dial(t.Context(), p.Path); !errors.Is(err, qmp.ErrGone) || !errors.Is(err, syscall.ENOENT) {
		t.Errorf("dial after quit: got %v, want ErrGone because the socket is removed", err)
	}
}

func killedMidCommand(t *testing.T, p *Peer) {
	c := dial(t, p.Path)
	p.signal(t, syscall.SIGSTOP) // so that the command is surely under way
	errs := make(chan error, 1)
	go func() {
		_, err := c.Status(t.Context())
		errs <- err
	}()
	select {
	case err := <-errs:
		t.Fatalf("a stopped QEMU answered: %v", err)
	case <-time.After(short):
	}
	p.signal(t, syscall.SIGKILL)
	if err := <-errs; !errors.Is(err, qmp.ErrGone) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the command under way got %v, want ErrGone", err)
	}
	wantGone(t, c)
	if p.exit(t).ExitCode() == 0 {
		t.Error("QEMU exited in order, want it killed")
	}
	if _, err := qmp.Dial(t.Context(), p.Path); !errors.Is(err, qmp.ErrGone) || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial of a dead QEMU: got %v, want ErrGone, connection refused", err)
	}
}

// wantGone asks that c reports the end of its peer in every way it has.
func wantGone(t *testing.T, c *qmp.Client) {
	t.Helper()
	select {
	case <-c.Done():
	case <-time.After(patience):
		t.Fatal("the client did not notice the end of its peer")
	}
	if err := c.Err(); !errors.Is(err, qmp.ErrGone) || !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("Err() = %v, want ErrGone with its cause", err)
	}
	for range 2 {
		if _, err := c.Status(t.Context()); !errors.Is(err, qmp.ErrGone) {
			t.Errorf("a later command got %v, want ErrGone", err)
		}
	}
	if _, err := c.Subscribe().Next(t.Context()); !errors.Is(err, qmp.ErrGone) {
		t.Errorf("a later subscription got %v, want ErrGone", err)
	}
	for range 2 {
		if err := c.Disconnect(); err != nil {
			t.Errorf("Disconnect: %v, want nil", err)
		}
	}
}

func stopped(t *testing.T, p *Peer) {
	c := dial(t, p.Path)
	p.signal(t, syscall.SIGSTOP)
	for range 3 { // none waits behind another
		ctx, cancel := context.WithTimeout(t.Context(), short)
		_, err := c.Status(ctx)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, qmp.ErrGone) {
			t.Errorf("got %v, want deadline exceeded", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(short, cancel)
	if err := c.Cont(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
	p.signal(t, syscall.SIGCONT)
	// Three late replies of another kind come first.
	v, err := c.Version(t.Context())
	if err != nil || v != c.Greeting().Version {
		t.Errorf("after SIGCONT: got %v, %v, want the version", v, err)
	}
	if s, err := c.Status(t.Context()); err != nil || !s.Running {
		t.Errorf("after SIGCONT: got %+v, %v, want running, as the late cont was obeyed", s, err)
	}
}

func fullSocket(t *testing.T, p *Peer) {
	c := dial(t, p.Path)
	p.signal(t, syscall.SIGSTOP)
	big := map[string]string{"command-line": "x" + strings.Repeat("y", 300<<10)} // the socket takes some 200 KB
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), short)
		err := c.Execute(ctx, "human-monitor-command", big, nil)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "send") {
			t.Errorf("got %v, want the deadline while sending", err)
		}
	}
	// A caller without a deadline must not stand in the way of the others.
	ctx, cancel := context.WithCancel(t.Context())
	waiter := make(chan error, 1)
	go func() { waiter <- c.Execute(ctx, "human-monitor-command", big, nil) }()
	hurried, cancelHurried := context.WithTimeout(t.Context(), short)
	defer cancelHurried()
	if _, err := c.Status(hurried); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want deadline exceeded", err)
	}
	cancel()
	if err := <-waiter; !errors.Is(err, context.Canceled) {
		t.Errorf("the patient caller got %v, want canceled", err)
	}
	p.signal(t, syscall.SIGCONT)
	// The command that was cut short is finished first; it harms nobody.
	if s, err := c.Status(t.Context()); err != nil || s.Status != "prelaunch" {
		t.Errorf("after SIGCONT: got %+v, %v, want prelaunch", s, err)
	}
}

func stoppedAtDial(t *testing.T, p *Peer) {
	dial(t, p.Path).Close() // it is up
	p.signal(t, syscall.SIGSTOP)
	ctx, cancel := context.WithTimeout(t.Context(), short)
	defer cancel()
	if _, err := qmp.Dial(ctx, p.Path); !errors.Is(err, qmp.ErrBusy) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want ErrBusy, deadline exceeded", err)
	}
	p.signal(t, syscall.SIGCONT)
	dial(t, p.Path) // the one that gave up is not in the way
}

func secondClient(t *testing.T, p *Peer) {
	first := dial(t, p.Path)
	ctx, cancel := context.WithTimeout(t.Context(), short)
	defer cancel()
	_, err := qmp.Dial(ctx, p.Path)
	if !errors.Is(err, qmp.ErrBusy) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want ErrBusy, deadline exceeded", err)
	}
	if err == nil || !strings.Contains(err.Error(), p.Path) {
		t.Errorf("error %v does not name the monitor", err)
	}
	if _, err := first.Status(t.Context()); err != nil {
		t.Errorf("the first client suffered: %v", err)
	}
	// One that waits is served as soon as the first client leaves.
	served := make(chan error, 1)
	go func() {
		c, err := qmp.Dial(t.Context(), p.Path)
		if err == nil {
			c.Close()
		}
		served <- err
	}()
	first.Close()
	if err := <-served; err != nil {
		t.Errorf("the waiting client got %v", err)
	}
}

func fullQueue(t *testing.T, p *Peer) {
	first := dial(t, p.Path)
	for {
		conn, err := net.Dial("unix", p.Path)
		if errors.Is(err, syscall.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
	}
	ctx, cancel := context.WithTimeout(t.Context(), short)
	defer cancel()
	if _, err := qmp.Dial(ctx, p.Path); !errors.Is(err, qmp.ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
	if _, err := first.Status(t.Context()); err != nil {
		t.Errorf("the first client suffered: %v", err)
	}
}

func closed(t *testing.T, p *Peer) {
	c := dial(t, p.Path)
	events := c.Subscribe()
	p.signal(t, syscall.SIGSTOP)
	errs := make(chan error, 2)
	go func() {
		_, err := c.Status(t.Context())
		errs <- err
	}()
	go func() {
		_, err := events.Next(t.Context())
		errs <- err
	}()
	for range 2 {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v, want nil", err)
		}
	}
	for range 2 {
		if err := <-errs; !errors.Is(err, net.ErrClosed) || errors.Is(err, qmp.ErrGone) {
			t.Errorf("a call under way got %v, want net.ErrClosed", err)
		}
	}
	if err := c.Connect(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Connect after Close: %v, want net.ErrClosed", err)
	}
	if _, err := c.Events(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Events after Close: %v, want net.ErrClosed", err)
	}
	if err := c.Err(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Err after Close: %v, want net.ErrClosed", err)
	}
}
