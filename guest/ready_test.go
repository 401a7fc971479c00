package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/vmlaunch/vmlaunch/vsock"
)

// listener is a listener whose connections come from a test, by CID.
type listener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newListener() *listener {
	return &listener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	select {
	case <-l.closed:
		return net.ErrClosed
	default:
		close(l.closed)
		return nil
	}
}

func (l *listener) Addr() net.Addr { return &vsock.Addr{CID: vsock.Any, Port: 1} }

// fromCID is a connection from a CID; the far end can't be half closed, so the
// near one sees EOF after what is said.
type fromCID struct {
	net.Conn
	cid vsock.CID
	in  io.Reader
}

func (c *fromCID) RemoteAddr() net.Addr       { return &vsock.Addr{CID: c.cid, Port: 1000} }
func (c *fromCID) Read(p []byte) (int, error) { return c.in.Read(p) }

// say says text from cid and returns the answer.
func (l *listener) say(t *testing.T, cid vsock.CID, text string) string {
	t.Helper()
	near, far := net.Pipe()
	l.conns <- &fromCID{Conn: near, cid: cid, in: strings.NewReader(text)}
	answer, err := io.ReadAll(far)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

func TestReady(t *testing.T) {
	l := newListener()
	var statuses []string
	r := hear(l, 42, 1, func(s string) { statuses = append(statuses, s) })
	for _, said := range []struct {
		cid          vsock.CID
		text, answer string
	}{
		{42, "STATUS=one\nX_A=1\n", received},
		{43, "READY=1\nSTATUS=stranger", ""},
		{vsock.Loopback, "READY=1\n", ""},
		{42, "STATUS=bad \xff\nREADY=1", ""},
		{42, strings.Repeat("x", MaxMessage) + "\nREADY=1", ""},
		{42, "READY=0\nREADY\nREADY=11\nX_A=2\nX_B=\nMONOTONIC_USEC=1", received},
		{42, "STATUS=two\x1b[2J", received},
	} {
		if got := l.say(t, said.cid, said.text); got != said.answer {
			t.Errorf("%d says %.20q: answer %q, want %q", said.cid, said.text, got, said.answer)
		}
	}
	dead, cancel := context.WithCancel(t.Context())
	cancel()
	err := r.Wait(dead)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "two") {
		t.Errorf("not ready: %v, want context.Canceled and the last status", err)
	}
	for range 2 { // again is fine
		if got := l.say(t, 42, "READY=1\n"); got != received {
			t.Errorf("READY: answer %q", got)
		}
	}
	if err := r.Wait(dead); err != nil { // ready, however late one asks
		t.Errorf("ready: %v", err)
	}
	for range 2 {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if want := []string{"one", "two\ufffd[2J"}; !slices.Equal(statuses, want) {
		t.Errorf("statuses %q, want %q", statuses, want)
	}
	m := r.Told()
	if !m.Ready || m.Extra["X_A"] != "2" || len(m.Extra) != 2 {
		t.Errorf("told %+v", m)
	}
}

// TestReadyClosed closes under a waiter, and under a guest that says nothing.
func TestReadyClosed(t *testing.T) {
	l := newListener()
	r := hear(l, 42, 1, nil)
	near, far := net.Pipe()
	l.conns <- &fromCID{Conn: near, cid: 42, in: near}
	defer far.Close()
	waited := make(chan error, 1)
	go func() { waited <- r.Wait(t.Context()) }()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := <-waited; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Wait: %v, want net.ErrClosed", err)
	}
}

// TestReadyHoards asks that a guest can't make the host remember without end.
func TestReadyHoards(t *testing.T) {
	l := newListener()
	r := hear(l, 42, 1, nil)
	defer r.Close()
	for i := range maxExtra + 10 {
		l.say(t, 42, fmt.Sprintf("X_%d=x", i))
	}
	l.say(t, 42, "X_0=last")
	if m := r.Told(); len(m.Extra) != maxExtra || m.Extra["X_0"] != "last" {
		t.Errorf("%d keys kept, want %d; X_0 is %q", len(m.Extra), maxExtra, m.Extra["X_0"])
	}
}

func FuzzParseMessage(f *testing.F) {
	for _, s := range []string{
		"", "READY=1", "READY=1\nSTATUS=up\nX_VMLAUNCH_SSH=vsock:22\n", "STATUS=\x1b]0;title\x07", "X_=\n=\nREADY=\n",
		"READY=0\nREADY=1\r\n", "STATUS=" + strings.Repeat("ü", 300), "\xff\xfe", strings.Repeat("a", MaxMessage+1), "ERRNO=2\nSTOPPING=1",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMessage(b)
		if err != nil {
			if !errors.Is(err, ErrBadMessage) || m.Ready || m.Status != "" || m.Extra != nil {
				t.Fatalf("%+v, %v", m, err)
			}
			return
		}
		if n := len([]rune(m.Status)); n > maxStatus+1 {
			t.Fatalf("status of %d runes", n)
		}
		for _, r := range m.Status {
			if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
				t.Fatalf("status %q has a control character", m.Status)
			}
		}
		if m.Ready != slices.Contains(strings.Split(string(b), "\n"), "READY=1") {
			t.Fatalf("ready is %v for %q", m.Ready, b)
		}
		for k := range m.Extra {
			if !strings.HasPrefix(k, "X_") || strings.ContainsAny(k, "=\n") {
				t.Fatalf("key %q", k)
			}
		}
	})
}
