package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// echo is a TCP service that sends everything back; it ends with the test.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// serve passes connections on to address and returns where; what was said is read
// from the channel.
func serve(t *testing.T, relay *Relay, l net.Listener, dial func(context.Context) (Conn, error)) (said chan string) {
	t.Helper()
	said = make(chan string, 100)
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{Listener: l, Handle: relay.To(dial), Relay: relay, Say: func(text string) {
		select {
		case said <- text:
		default:
		}
	}}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; !errors.Is(err, context.Canceled) {
			t.Errorf("serve: %v", err)
		}
	})
	return said
}

func dialTCP(address string) func(context.Context) (Conn, error) {
	return func(ctx context.Context) (Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		return c.(Conn), nil
	}
}

func listenTCP(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestThousandAtOnce holds 1,000 connections open at once and uses all of them.
func TestThousandAtOnce(t *testing.T) {
	l := listenTCP(t)
	serve(t, NewRelay(0), l, dialTCP(echo(t)))
	const many = 1000
	conns := make([]Conn, many)
	for i := range conns {
		c, err := dialTCP(l.Addr().String())(t.Context())
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		conns[i] = c
		_ = c.(net.Conn).SetDeadline(time.Now().Add(patience))
	}
	var all sync.WaitGroup
	for i, c := range conns {
		all.Go(func() {
			defer c.Close()
			text := fmt.Sprintf("connection %d", i)
			if _, err := io.WriteString(c, text); err != nil {
				t.Errorf("%s: %v", text, err)
			}
			_ = c.CloseWrite()
			if got, err := io.ReadAll(c); err != nil || string(got) != text {
				t.Errorf("%s: got %q, %v", text, got, err)
			}
		})
	}
	all.Wait()
}

// TestMoreThanThereIsRoomFor opens more than the relay takes: the last one waits for
// its turn, and that is said.
func TestMoreThanThereIsRoomFor(t *testing.T) {
	l := listenTCP(t)
	said := serve(t, NewRelay(1), l, dialTCP(echo(t)))
	first, second := mustDial(t, l), mustDial(t, l)
	for _, c := range []Conn{first, second} {
		if _, err := io.WriteString(c, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.ReadFull(first, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if text := <-said; text == "" {
		t.Error("nothing was said")
	}
	_ = first.Close()
	if _, err := io.ReadFull(second, make([]byte, 1)); err != nil {
		t.Errorf("the second: %v", err)
	}
}

func mustDial(t *testing.T, l net.Listener) Conn {
	t.Helper()
	c, err := dialTCP(l.Addr().String())(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.(net.Conn).SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// scarce fails with EMFILE a number of times.
type scarce struct {
	net.Listener
	left int
}

func (s *scarce) Accept() (net.Conn, error) {
	if s.left > 0 {
		s.left--
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return s.Listener.Accept()
}

// TestNoDescriptors has accept fail for want of descriptors: the server waits.
func TestNoDescriptors(t *testing.T) {
	l := &scarce{Listener: listenTCP(t), left: 2}
	said := serve(t, NewRelay(0), l, dialTCP(echo(t)))
	c := mustDial(t, l)
	if _, err := io.WriteString(c, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Errorf("after the shortage: %v", err)
	}
	if text := <-said; text == "" || len(said) > 0 {
		t.Errorf("said %q and %d more, want one line", text, len(said))
	}
}

// TestNobodyThere resets a connection that leads nowhere, says why, and goes on.
func TestNobodyThere(t *testing.T) {
	l := listenTCP(t)
	var tries atomic.Int32
	there := dialTCP(echo(t))
	said := serve(t, NewRelay(0), l, func(ctx context.Context) (Conn, error) {
		if tries.Add(1) == 1 {
			return nil, errors.New("nobody there")
		}
		return there(ctx)
	})
	c, err := dialTCP(l.Addr().String())(t.Context()) // package net may see the reset first
	if err == nil {
		defer c.Close()
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("heard %v, want a reset", err)
	}
	if text := <-said; text != "nobody there" {
		t.Errorf("said %q", text)
	}
	c = mustDial(t, l)
	say(t, c, "x")
	hear(t, c, "x")
}

func TestMostFor(t *testing.T) {
	for files, want := range map[uint64]int{0: 1, 70: 1, 1024: 160, 6064: 1000, 1<<64 - 1: 1 << 20} {
		if got := mostFor(files); got != want {
			t.Errorf("%d files: %d connections, want %d", files, got, want)
		}
	}
}
