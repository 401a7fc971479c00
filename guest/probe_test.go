package guest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/vsock"
)

const greeting = "vmlaunch-probe 1 name=web cid=42 token=secret peer=2:1000"

// converse is a probe guest played by a script: it says the greeting, and for
// each line it hears the next answer. After the last answer it hangs up.
func converse(t *testing.T, greeting string, answers ...string) net.Conn {
	t.Helper()
	here, there := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer there.Close()
		if _, err := io.WriteString(there, greeting+"\n"); err != nil {
			return
		}
		lines := bufio.NewReader(there)
		for _, answer := range answers {
			if _, err := lines.ReadString('\n'); err != nil {
				return
			}
			if _, err := io.WriteString(there, answer); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = here.Close()
		<-done
	})
	return here
}

func TestProbeGreetingIsChecked(t *testing.T) {
	for _, c := range []struct {
		name, greeting string
		cid            vsock.CID
		token          string
		want           error
	}{
		{"right", greeting, 42, "secret", nil},
		{"later version of the same protocol", greeting + " uptime=3 new", 42, "secret", nil},
		{"no token on either side", "vmlaunch-probe 1 name=web cid=42 token= peer=2:1000", 42, "", nil},
		{"another token", greeting, 42, "other", ErrIdentity},
		{"no token wanted", greeting, 42, "", ErrIdentity},
		{"another cid", greeting, 43, "secret", ErrIdentity},
		{"no cid", "vmlaunch-probe 1 name=web token=secret", 42, "secret", ErrIdentity},
		{"reserved cid", "vmlaunch-probe 1 cid=2 token=secret", 2, "secret", ErrIdentity},
		{"peer without port", "vmlaunch-probe 1 cid=42 token=secret peer=2", 42, "secret", ErrIdentity},
		{"peer without cid", "vmlaunch-probe 1 cid=42 token=secret peer=:2", 42, "secret", ErrIdentity},
		{"another protocol", "SSH-2.0-OpenSSH_9.9", 42, "secret", ErrIdentity},
		{"another version", "vmlaunch-probe 10 name=web cid=42 token=secret", 42, "secret", ErrIdentity},
		{"nothing", "", 42, "secret", ErrIdentity},
		{"no end of line", strings.Repeat("x", 2*probeLineMax), 42, "secret", bufio.ErrBufferFull},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := newProbe(t.Context(), converse(t, c.greeting), c.cid, c.token)
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err == nil && p.Close() != nil {
				t.Error("close failed")
			}
		})
	}
}

func TestProbeHello(t *testing.T) {
	p, err := newProbe(t.Context(), converse(t, greeting), 42, "secret")
	if err != nil {
		t.Fatal(err)
	}
	want := Hello{Name: "web", CID: 42, Token: "secret", Peer: vsock.Addr{CID: vsock.Host, Port: 1000}}
	if d := cmp.Diff(want, p.Hello()); d != "" {
		t.Errorf("hello (-want +got):\n%s", d)
	}
	if err := errors.Join(p.Close(), p.Close()); err != nil {
		t.Errorf("close twice: %v", err)
	}
}

func TestProbeAnswers(t *testing.T) {
	p, err := newProbe(t.Context(), converse(t, greeting, "OK pong\n", "ERR ECONNRESET\n", "ERR unknown command\n", "OK\n", "OKAY\n"), 42, "secret")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		command, want string
		errno         error
		refused       bool
	}{
		{"PING", "OK pong", nil, false},
		{"DIAL 2 5000 hello", "ERR ECONNRESET", unix.ECONNRESET, true},
		{"HUH", "ERR unknown command", nil, true},
		{"LISTEN 8000", "OK", nil, false},
		{"PING", "OKAY", nil, true},
	} {
		got, err := p.Do(t.Context(), c.command)
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.command, got, c.want)
		}
		if _, refused := errors.AsType[*AnswerError](err); refused != c.refused {
			t.Errorf("%s: got error %v, want refused %v", c.command, err, c.refused)
		}
		if c.errno != nil && !errors.Is(err, c.errno) {
			t.Errorf("%s: got error %v, want errno %v", c.command, err, c.errno)
		}
	}
	if _, err := p.Do(t.Context(), "PING"); !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("after the guest hung up: got %v", err)
	}
}

// TestProbeErrnos asks that every errno the guest can name is understood. The
// names are those of image/probe/errno.h.
func TestProbeErrnos(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EPERM, unix.ENOENT, unix.ENOMEM, unix.EINVAL, unix.ENOSPC, unix.EPROTO,
		unix.EADDRINUSE, unix.ECONNRESET, unix.ETIMEDOUT} {
		if got := answerErrno("ERR " + unix.ErrnoName(errno) + " and why"); got != errno {
			t.Errorf("%s: got %d, want %d", unix.ErrnoName(errno), got, errno)
		}
	}
	if got := answerErrno("ERR line too long"); got != 0 {
		t.Errorf("no errno: got %d", got)
	}
}

func TestProbeCommandIsOneLine(t *testing.T) {
	p, err := newProbe(t.Context(), converse(t, greeting, "OK pong\n"), 42, "secret")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"", "PING\nOFF", "PING\r"} {
		if answer, err := p.Do(t.Context(), line); err == nil {
			t.Errorf("%q: got %q, want it refused", line, answer)
		}
	}
	if answer, err := p.Do(t.Context(), "PING"); err != nil || answer != "OK pong" {
		t.Errorf("after refused lines: got %q, %v", answer, err) // nothing of them was sent
	}
}

// TestProbeFarewellHangsUp asks that the client closes after OFF, which is what
// the guest waits for.
func TestProbeFarewellHangsUp(t *testing.T) {
	here, there := net.Pipe()
	heard := make(chan error, 1)
	go func() {
		lines := bufio.NewReader(there)
		_, _ = io.WriteString(there, greeting+"\n")
		_, _ = lines.ReadString('\n')
		_, _ = io.WriteString(there, "OK going off\n")
		_, err := lines.ReadByte()
		heard <- err
	}()
	p, err := newProbe(t.Context(), here, 42, "secret")
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := p.Do(t.Context(), "OFF"); err != nil || answer != "OK going off" {
		t.Errorf("got %q, %v", answer, err)
	}
	if err := <-heard; !errors.Is(err, io.EOF) {
		t.Errorf("the guest got %v, want the end", err)
	}
}

// TestProbeEndsWithContext lets a guest say nothing at all, and one that stops
// answering.
func TestProbeEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		ctx, cancel := context.WithCancelCause(t.Context())
		errWhy := errors.New("why")
		failed := make(chan error)
		go func() {
			_, err := newProbe(ctx, here, 42, "secret")
			failed <- err
		}()
		synctest.Wait()
		cancel(errWhy)
		if err := <-failed; !errors.Is(err, errWhy) {
			t.Errorf("greeting: got %v, want the context's cause", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		go func() { _, _ = io.WriteString(there, greeting+"\n") }()
		p, err := newProbe(t.Context(), here, 42, "secret")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error)
		go func() {
			_, err := p.Do(ctx, "PING")
			failed <- err
		}()
		_, _ = bufio.NewReader(there).ReadString('\n')
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("answer: got %v, want the context's end", err)
		}
	})
}

func FuzzProbeGreeting(f *testing.F) {
	f.Add(greeting)
	f.Add("vmlaunch-probe 1 cid=4294967295")
	f.Add("vmlaunch-probe 1 peer=1:2:3 peer= =")
	f.Fuzz(func(t *testing.T, line string) {
		h, err := parseGreeting(line)
		if err != nil && !errors.Is(err, ErrIdentity) {
			t.Errorf("got %v, want it to be about identity", err)
		}
		if err == nil && h.CID != 0 && !h.CID.Guest() {
			t.Errorf("a guest said cid %d, and was believed", h.CID)
		}
	})
}
