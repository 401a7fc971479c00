package tunnel

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"testing"

	"golang.org/x/crypto/ssh"
)

func newKey(t testing.TB) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// meet has a host with the client's key, which expects the key host, talk to a guest. It
// returns how both sides ended, and what each got behind the conversation.
func meet(t *testing.T, g *Guest, client ssh.Signer, host ssh.PublicKey, target string, connect func(string) error) (hostErr, guestErr error, hostGot, guestGot []byte) {
	t.Helper()
	near, far := net.Pipe()
	guestEnd := make(chan error, 1)
	go func() {
		err := g.Serve(far, connect)
		if err == nil {
			guestGot = make([]byte, 4)
			_, err = io.ReadFull(far, guestGot)
			_, werr := io.WriteString(far, "pong")
			err = errors.Join(err, werr)
		}
		_ = far.Close()
		guestEnd <- err
	}()
	hostErr = Open(near, client, host, target)
	if hostErr == nil {
		if _, err := io.WriteString(near, "ping"); err != nil {
			t.Error(err)
		}
		hostGot, _ = io.ReadAll(near)
	}
	_ = near.Close()
	return hostErr, <-guestEnd, hostGot, guestGot
}

func TestOpen(t *testing.T) {
	client, host, other := newKey(t), newKey(t), newKey(t)
	known := func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), client.PublicKey().Marshal()) }
	g := &Guest{Host: host, Authorized: known}
	asked := ""
	connect := func(target string) error { asked = target; return nil }

	t.Run("connects", func(t *testing.T) {
		herr, gerr, hgot, ggot := meet(t, g, client, host.PublicKey(), "tcp localhost:80", connect)
		if herr != nil || gerr != nil || string(hgot) != "pong" || string(ggot) != "ping" || asked != "tcp localhost:80" {
			t.Errorf("host %v %q, guest %v %q, target %q", herr, hgot, gerr, ggot, asked)
		}
	})
	t.Run("only asks", func(t *testing.T) {
		asked = "nothing"
		herr, gerr, _, _ := meet(t, g, client, host.PublicKey(), "", connect)
		if herr != nil || gerr != nil || asked != "nothing" {
			t.Errorf("host %v, guest %v, target %q", herr, gerr, asked)
		}
	})
	t.Run("guest can't", func(t *testing.T) {
		refusal := errors.New("nobody there")
		herr, gerr, _, _ := meet(t, g, client, host.PublicKey(), "unix /x", func(string) error { return refusal })
		if e, ok := errors.AsType[*RefusedError](herr); !ok || e.Answer != "nobody there" || !errors.Is(gerr, refusal) {
			t.Errorf("host %v, guest %v", herr, gerr)
		}
	})
	t.Run("another guest", func(t *testing.T) {
		asked = "nothing"
		herr, gerr, _, _ := meet(t, &Guest{Host: other, Authorized: known}, client, host.PublicKey(), "tcp x:1", connect)
		if e, ok := errors.AsType[*StrangerError](herr); !ok || !bytes.Equal(e.Have.Marshal(), other.PublicKey().Marshal()) || gerr == nil || asked != "nothing" {
			t.Errorf("host %v, guest %v, target %q", herr, gerr, asked)
		}
	})
	t.Run("another client", func(t *testing.T) {
		asked = "nothing"
		herr, gerr, _, _ := meet(t, g, other, host.PublicKey(), "tcp x:1", connect)
		if _, ok := errors.AsType[*RefusedError](herr); !ok || !errors.Is(gerr, errNotAuthorized) || asked != "nothing" {
			t.Errorf("host %v, guest %v, target %q", herr, gerr, asked)
		}
	})
}

// TestReplay plays a client's message of another conversation to a guest.
func TestReplay(t *testing.T) {
	client, host := newKey(t), newKey(t)
	g := &Guest{Host: host, Authorized: func(ssh.PublicKey) bool { return true }}
	var heard bytes.Buffer
	near, far := net.Pipe()
	go func() { _ = g.Serve(far, func(string) error { return nil }); _ = far.Close() }()
	if err := Open(tap{near, &heard}, client, host.PublicKey(), "tcp x:1"); err != nil {
		t.Fatal(err)
	}
	_ = near.Close()
	err := g.Serve(struct {
		io.Reader
		io.Writer
	}{&heard, io.Discard}, func(string) error { t.Error("connected"); return nil })
	if !errors.Is(err, errNotAuthorized) {
		t.Errorf("got %v", err)
	}
}

// tap keeps what is written.
type tap struct {
	io.ReadWriter
	kept *bytes.Buffer
}

func (t tap) Write(p []byte) (int, error) { t.kept.Write(p); return t.ReadWriter.Write(p) }

// FuzzOpen has a guest say anything to the host: it never gets a connection.
func FuzzOpen(f *testing.F) {
	f.Add([]byte(greeting))
	f.Add([]byte("SSH-2.0-OpenSSH_9.9\r\n"))
	f.Add(append([]byte(greeting), make([]byte, 200)...))
	client, host := newKey(f), newKey(f)
	f.Fuzz(func(t *testing.T, said []byte) {
		if err := Open(script{bytes.NewReader(said)}, client, host.PublicKey(), "tcp x:1"); err == nil {
			t.Errorf("%q was taken for the guest", said)
		}
	})
}

// FuzzServe has a client say anything to the guest: it is never connected.
func FuzzServe(f *testing.F) {
	f.Add(make([]byte, nonceSize))
	f.Add(append(make([]byte, nonceSize), 0, 7, 't', 'c', 'p', ' ', 'x', ':', '1', 0, 0, 0, 0))
	g := &Guest{Host: newKey(f), Authorized: func(ssh.PublicKey) bool { return true }}
	f.Fuzz(func(t *testing.T, said []byte) {
		err := g.Serve(script{bytes.NewReader(said)}, func(target string) error {
			t.Errorf("connected to %q", target)
			return nil
		})
		if err == nil {
			t.Errorf("%q was taken for a client", said)
		}
	})
}

// script says what it says and hears nothing.
type script struct{ io.Reader }

func (script) Write(p []byte) (int, error) { return len(p), nil }
