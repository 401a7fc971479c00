package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/vmlaunch/vmlaunch/forward"
	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/internal/agentconfig"
	"github.com/vmlaunch/vmlaunch/internal/tunnel"
)

// A forwardService is the agent's forward service on a Unix socket, which stands for
// vsock: it too tells who sends that nobody reads any more.
type forwardService struct {
	address string
	client  ssh.Signer
	host    ssh.PublicKey
}

func startForward(t *testing.T) forwardService {
	t.Helper()
	keys, err := guest.NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	s, err := newServer(agentconfig.Config{HostKey: string(keys.Host), AuthorizedKeys: []string{keys.ClientPub}},
		console{os.Stderr}, newReaper(), func(ending) {})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "forward"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() { defer close(served); s.serveForward(ctx, l) }()
	t.Cleanup(func() { cancel(); <-served })
	client, err := ssh.ParsePrivateKey(keys.Client)
	if err != nil {
		t.Fatal(err)
	}
	host, err := guest.ParsePublic(keys.HostPub)
	if err != nil {
		t.Fatal(err)
	}
	return forwardService{l.Addr().String(), client, host}
}

// open connects to target through the service, as a relay's leg.
func (s forwardService) open(target string) (*forward.Leg, error) {
	c, err := net.Dial("unix", s.address)
	if err != nil {
		return nil, err
	}
	if err := tunnel.Open(c, s.client, s.host, target); err != nil {
		_ = c.Close()
		return nil, err
	}
	return forward.NewLeg(c.(*net.UnixConn))
}

// listenOn accepts one connection after the other on network and hands each to serve.
func listenOn(t *testing.T, network, address string, serve func(forward.Conn)) string {
	t.Helper()
	l, err := net.Listen(network, address)
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
			go serve(c.(forward.Conn))
		}
	}()
	return l.Addr().String()
}

func echoBack(c forward.Conn) {
	_, _ = io.Copy(c, c)
	_ = c.Close()
}

func TestForwardTargets(t *testing.T) {
	s := startForward(t)
	tcp := listenOn(t, "tcp", "127.0.0.1:0", echoBack)
	_, port, _ := net.SplitHostPort(tcp)
	odd := filepath.Join(t.TempDir(), "-a, b='c' \n:d")
	listenOn(t, "unix", odd, echoBack)
	six := listenOn(t, "tcp", "[::1]:0", echoBack)
	_, sixPort, _ := net.SplitHostPort(six)
	for _, target := range []string{"tcp " + tcp, "tcp localhost:" + port, "tcp " + six, "tcp localhost:" + sixPort, "unix " + odd} {
		leg, err := s.open(target)
		if err != nil {
			t.Errorf("%q: %v", target, err)
			continue
		}
		_, _ = io.WriteString(leg, "hello")
		_ = leg.CloseWrite()
		if got, err := io.ReadAll(leg); err != nil || string(got) != "hello" {
			t.Errorf("%q: got %q, %v", target, got, err)
		}
		_ = leg.Close()
	}
	for target, want := range map[string]string{
		"tcp 127.0.0.1:1": "refused", "unix /no/such": "no such file", "udp 127.0.0.1:1": "want tcp or unix", "x": "want tcp or unix",
	} {
		_, err := s.open(target)
		if e, ok := errors.AsType[*tunnel.RefusedError](err); !ok || !strings.Contains(e.Answer, want) {
			t.Errorf("%q: %v, want %q", target, err, want)
		}
	}
	other := startForward(t)
	other.address = s.address
	if _, err := other.open("tcp " + tcp); err == nil {
		t.Error("the keys of another machine were let in")
	} else if _, ok := errors.AsType[*tunnel.StrangerError](err); !ok {
		t.Errorf("the keys of another machine: %v", err)
	}
}

// TestForwardResets has a service in the guest reset its connection: the relay on the
// other side is to hear of it. And the other way round.
func TestForwardResets(t *testing.T) {
	s := startForward(t)
	t.Run("by the service", func(t *testing.T) {
		tcp := listenOn(t, "tcp", "127.0.0.1:0", func(c forward.Conn) {
			_, _ = c.Read(make([]byte, 1))
			forward.Reset(c)
		})
		user := s.chain(t, "tcp "+tcp)
		_, _ = io.WriteString(user, "x")
		if _, err := user.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("heard %v, want ECONNRESET", err)
		}
	})
	t.Run("by the user", func(t *testing.T) {
		heard := make(chan error, 1)
		tcp := listenOn(t, "tcp", "127.0.0.1:0", func(c forward.Conn) {
			_, _ = io.CopyN(c, c, 1)
			_, err := c.Read(make([]byte, 1))
			heard <- err
		})
		user := s.chain(t, "tcp "+tcp)
		_, _ = io.WriteString(user, "x")
		if _, err := io.ReadFull(user, make([]byte, 1)); err != nil { // the reset would take along what is under way
			t.Fatal(err)
		}
		forward.Reset(user)
		select {
		case err := <-heard:
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the service heard %v, want ECONNRESET", err)
			}
		case <-time.After(patience):
			t.Error("the service heard nothing")
		}
	})
}

// chain joins a TCP connection, whose user end it returns, with target by two relays.
func (s forwardService) chain(t *testing.T, target string) *net.TCPConn {
	t.Helper()
	relay := forward.NewRelay(0)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	server := forward.Server{Listener: l, Relay: relay, Say: func(text string) { t.Log(text) },
		Handle: relay.To(func(context.Context) (forward.Conn, error) { return s.open(target) })}
	go func() { defer close(served); _ = server.Serve(ctx) }()
	t.Cleanup(func() { cancel(); <-served; _ = relay.Close() })
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

// TestForwardManyAtOnce holds 1,000 connections open at once.
func TestForwardManyAtOnce(t *testing.T) {
	s := startForward(t)
	target := "tcp " + listenOn(t, "tcp", "127.0.0.1:0", echoBack)
	legs := make([]*forward.Leg, 1000)
	for i := range legs {
		leg, err := s.open(target)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		legs[i] = leg
	}
	var all sync.WaitGroup
	for i, leg := range legs {
		all.Go(func() {
			defer leg.Close()
			text := fmt.Sprintf("connection %d", i)
			_, _ = io.WriteString(leg, text)
			_ = leg.CloseWrite()
			if got, err := io.ReadAll(leg); err != nil || string(got) != text {
				t.Errorf("%s: got %q, %v", text, got, err)
			}
		})
	}
	all.Wait()
}

// TestSSHForwards uses what ssh -L uses.
func TestSSHForwards(t *testing.T) {
	c := startAgent(t).client(t)
	tcp := listenOn(t, "tcp", "127.0.0.1:0", echoBack)
	unix := filepath.Join(t.TempDir(), "s")
	listenOn(t, "unix", unix, echoBack)
	for network, address := range map[string]string{"tcp": tcp, "unix": unix} {
		conn, err := c.Connect(t.Context(), network, address)
		if err != nil {
			t.Errorf("%s: %v", network, err)
			continue
		}
		sent, got := sha256.New(), sha256.New()
		const size = 16 << 20
		go func() {
			_, _ = io.CopyN(io.MultiWriter(conn, sent), zeros{}, size)
			_ = conn.CloseWrite()
		}()
		if n, err := io.Copy(got, conn); err != nil || n != size || string(got.Sum(nil)) != string(sent.Sum(nil)) {
			t.Errorf("%s: got %d bytes, %v", network, n, err)
		}
		_ = conn.Close()
	}
	for network, address := range map[string]string{"tcp": "127.0.0.1:1", "unix": "/no/such"} {
		if _, err := c.Connect(t.Context(), network, address); err == nil || errors.Is(err, guest.ErrGone) {
			t.Errorf("%s %s: %v, want the guest's refusal", network, address, err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
