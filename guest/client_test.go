package guest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"
)

// checkLeaks fails the test if a goroutine of this package outlives it, those
// of the tests aside. Close and Run wait for theirs, but what has done its
// work may still be on its way out.
func checkLeaks(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		const patience = 1000
		for range patience {
			if len(left()) == 0 {
				return
			}
			runtime.Gosched()
		}
		for _, stack := range left() {
			t.Errorf("left running:\n%s", stack)
		}
	})
}

// left returns the stacks of this package's goroutines.
func left() (stacks []string) {
	all := make([]byte, 1<<20)
	all = all[:runtime.Stack(all, true)]
	for stack := range strings.SplitSeq(string(all), "\n\n") {
		running, _, _ := strings.Cut(stack, "\ncreated by ")
		if strings.Contains(running, "vmlaunch/guest.") && !strings.Contains(running, "_test.go") {
			stacks = append(stacks, stack)
		}
	}
	return stacks
}

// A valve is a connection that can be frozen: nothing is read from it or
// written to it until it is closed, as with a guest that is paused.
type valve struct {
	net.Conn
	frozen chan struct{}
	once   sync.Once
	closed chan struct{}
	shut   sync.Once
}

func newValve(c net.Conn) *valve {
	return &valve{Conn: c, frozen: make(chan struct{}), closed: make(chan struct{})}
}

func (v *valve) freeze() { v.once.Do(func() { close(v.frozen) }) }

func (v *valve) hold() error {
	select {
	case <-v.frozen:
		<-v.closed
		return net.ErrClosed
	default:
		return nil
	}
}

func (v *valve) Read(p []byte) (int, error) {
	n, err := v.Conn.Read(p)
	if herr := v.hold(); herr != nil {
		return 0, herr
	}
	return n, err
}

func (v *valve) Write(p []byte) (int, error) {
	if err := v.hold(); err != nil {
		return 0, err
	}
	return v.Conn.Write(p)
}

func (v *valve) Close() error {
	v.shut.Do(func() { close(v.closed) })
	return v.Conn.Close()
}

// pair returns both ends of a connection; the far one is closed with the test.
func pair(t *testing.T) (near net.Conn, far *valve) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	far = newValve(conn)
	t.Cleanup(func() { _ = far.Close() })
	return near, far
}

// serve is the least of an SSH server: it grants everything and calls on for
// each event: "open", and the types of requests.
func serve(far net.Conn, hostKey ssh.Signer, on func(event string, ch ssh.Channel)) {
	cfg := &ssh.ServerConfig{NoClientAuth: true}
	cfg.AddHostKey(hostKey)
	_, channels, requests, err := ssh.NewServerConn(far, cfg)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		on("open", nil)
		ch, requests, err := offered.Accept()
		if err != nil {
			return
		}
		go func() {
			for req := range requests {
				on(req.Type, ch)
				if req.WantReply {
					_ = req.Reply(true, nil)
				}
			}
		}()
	}
}

// ours returns a machine's keys in the forms that a client wants.
func ours(t *testing.T) (keys Keys, host ssh.Signer) {
	t.Helper()
	keys, err := NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	if host, err = ssh.ParsePrivateKey(keys.Host); err != nil {
		t.Fatal(err)
	}
	return keys, host
}

func TestKeys(t *testing.T) {
	keys, host := ours(t)
	client, err := ssh.ParsePrivateKey(keys.Client)
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range []struct {
		private ssh.Signer
		public  string
	}{{client, keys.ClientPub}, {host, keys.HostPub}} {
		pub, err := ParsePublic(pair.public)
		if err != nil {
			t.Fatal(err)
		}
		if string(pub.Marshal()) != string(pair.private.PublicKey().Marshal()) || pub.Type() != ssh.KeyAlgoED25519 {
			t.Errorf("%s does not belong to its private key", pair.public)
		}
		if strings.ContainsAny(pair.public, "\n") {
			t.Errorf("%q is more than a line", pair.public)
		}
	}
	if keys.ClientPub == keys.HostPub {
		t.Error("both pairs are the same")
	}
	if _, err := ParsePublic("ssh-ed25519 nonsense"); err == nil {
		t.Error("nonsense is taken for a key")
	}
}

// TestHandshakeBounded asks that a peer that says nothing holds nobody up, and
// that the connection is closed then.
func TestHandshakeBounded(t *testing.T) {
	checkLeaks(t)
	keys, host := ours(t)
	near, far := pair(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _ = far.Read(make([]byte, 1)) // the client has begun
		cancel()
	}()
	if _, err := NewClient(ctx, near, Key{Private: keys.Client, Host: host.PublicKey()}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	if _, err := near.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the connection is still open: %v", err)
	}
}

// TestBadClientKey asks that the connection is closed when nothing was tried.
func TestBadClientKey(t *testing.T) {
	_, host := ours(t)
	near, _ := pair(t)
	if _, err := NewClient(t.Context(), near, Key{Private: []byte("no key"), Host: host.PublicKey()}); err == nil {
		t.Error("no key is taken for one")
	}
	if _, err := near.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the connection is still open: %v", err)
	}
}

// TestOtherKindOfKey asks that a peer without any key of the pinned kind is
// another machine, too.
func TestOtherKindOfKey(t *testing.T) {
	checkLeaks(t)
	keys, host := ours(t)
	near, far := pair(t)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	go serve(far, other, func(string, ssh.Channel) {})
	if _, err := NewClient(t.Context(), near, Key{Private: keys.Client, Host: host.PublicKey()}); !errors.Is(err, ErrIdentity) {
		t.Errorf("%v, want ErrIdentity", err)
	}
}

// TestFrozenGuest freezes the guest at each step of a run. The end of the
// context ends the run, and takes the connection with it.
func TestFrozenGuest(t *testing.T) {
	for _, at := range []string{"open", "pty-req", "exec"} {
		t.Run(at, func(t *testing.T) {
			checkLeaks(t)
			keys, host := ours(t)
			near, far := pair(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go serve(far, host, func(event string, _ ssh.Channel) {
				if event == at {
					far.freeze()
					cancel()
				}
			})
			c, err := NewClient(t.Context(), near, Key{Private: keys.Client, Host: host.PublicKey()})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Run(ctx, Command{Args: []string{"x"}, TTY: true}); !errors.Is(err, context.Canceled) {
				t.Errorf("Run: %v, want context.Canceled", err)
			}
			for range 2 {
				if err := c.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}
			if _, err := c.Run(t.Context(), Command{Args: []string{"x"}}); !errors.Is(err, ErrGone) {
				t.Errorf("Run after Close: %v, want ErrGone", err)
			}
		})
	}
}

// TestNoExit closes the channel without a word about the program's end.
func TestNoExit(t *testing.T) {
	checkLeaks(t)
	keys, host := ours(t)
	near, far := pair(t)
	go serve(far, host, func(event string, ch ssh.Channel) {
		if event == "exec" {
			_ = ch.Close()
		}
	})
	c, err := NewClient(t.Context(), near, Key{Private: keys.Client, Host: host.PublicKey()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if exit, err := c.Run(t.Context(), Command{Args: []string{"x"}}); !errors.Is(err, ErrGone) {
		t.Errorf("exit %d, %v; want ErrGone", exit, err)
	}
}

// A careful writer notices a Write during another one.
type careful struct {
	busy, overlaps atomic.Int32
	bytes          atomic.Int64
}

func (c *careful) Write(p []byte) (int, error) {
	if c.busy.Add(1) > 1 {
		c.overlaps.Add(1)
	}
	for range 100 {
		runtime.Gosched() // to whoever else would write
	}
	c.busy.Add(-1)
	c.bytes.Add(int64(len(p)))
	return len(p), nil
}

// TestOneWriterForBothStreams is about a writer that stands nothing but one Write
// at a time, as a bytes.Buffer does.
func TestOneWriterForBothStreams(t *testing.T) {
	checkLeaks(t)
	keys, host := ours(t)
	near, far := pair(t)
	const chunks, size = 100, 1000
	go serve(far, host, func(event string, ch ssh.Channel) {
		if event != "exec" {
			return
		}
		go func() {
			var both sync.WaitGroup
			for _, to := range []io.Writer{ch, ch.Stderr()} {
				both.Go(func() {
					for range chunks {
						_, _ = to.Write(make([]byte, size))
					}
				})
			}
			both.Wait()
			_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{0}))
			_ = ch.Close()
		}()
	})
	c, err := NewClient(t.Context(), near, Key{Private: keys.Client, Host: host.PublicKey()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var w careful
	exit, err := c.Run(t.Context(), Command{Args: []string{"x"}, Stdout: &w, Stderr: &w})
	if err != nil || exit != 0 || w.bytes.Load() != 2*chunks*size {
		t.Errorf("exit %d, %v, %d bytes; want 0 and %d bytes", exit, err, w.bytes.Load(), 2*chunks*size)
	}
	if n := w.overlaps.Load(); n != 0 {
		t.Errorf("%d writes began during another one", n)
	}
}

// TestCancelledBefore asks that nothing is started for a context that is over.
func TestCancelledBefore(t *testing.T) {
	checkLeaks(t)
	keys, host := ours(t)
	near, far := pair(t)
	started := make(chan string, 10)
	go serve(far, host, func(event string, _ ssh.Channel) { started <- event })
	c, err := NewClient(t.Context(), near, Key{Private: keys.Client, Host: host.PublicKey()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Run(ctx, Command{Args: []string{"x"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v, want context.Canceled", err)
	}
	if len(started) != 0 {
		t.Errorf("the guest got %q", <-started)
	}
}

func TestExitState(t *testing.T) {
	for _, test := range []struct {
		kind    string
		payload []byte
		want    int
		err     error
	}{
		{"exit-status", ssh.Marshal(struct{ S uint32 }{7}), 7, nil},
		{"exit-status", []byte{1}, 0, ErrGone},
		{"exit-signal", exitSignal("KILL"), 137, nil},
		{"exit-signal", exitSignal("34@vmlaunch"), 162, nil},
		{"exit-signal", exitSignal("FOO@example.com"), maxExit, nil},
		{"keepalive@openssh.com", nil, 0, ErrGone},
	} {
		var e exitState
		e.take(test.kind, test.payload)
		if got, err := e.code(); got != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s %q: %d, %v; want %d, %v", test.kind, test.payload, got, err, test.want, test.err)
		}
	}
}

func exitSignal(name string) []byte {
	return ssh.Marshal(struct {
		Name              string
		Core              bool
		Message, Language string
	}{Name: name})
}

func TestLine(t *testing.T) {
	for _, test := range []struct {
		cmd  Command
		want string
	}{
		{Command{}, ""},
		{Command{Args: []string{"if", "a b", "it's"}}, `exec 'if' 'a b' 'it'\''s'`},
		{Command{Args: []string{"x"}, Dir: "/a b"}, `cd '/a b' && exec 'x'`},
		{Command{Args: []string{"x"}, Env: []string{"A=$b", "C="}}, `export A='$b'; export C=''; exec 'x'`},
		{Command{Dir: "/"}, `cd '/' && exec "${SHELL:-/bin/sh}" -l`},
	} {
		if got, err := test.cmd.line(); got != test.want || err != nil {
			t.Errorf("%+v: %q, %v; want %q", test.cmd, got, err, test.want)
		}
	}
	for _, bad := range []Command{
		{Args: []string{"x"}, Env: []string{"A"}},
		{Args: []string{"x"}, Env: []string{"=b"}},
		{Args: []string{"x"}, Env: []string{"$(id)=b"}},
		{Args: []string{"x"}, Env: []string{"1A=b"}},
		{Args: []string{"x\x00y"}},
	} {
		if got, err := bad.line(); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%+v: %q, %v; want fs.ErrInvalid", bad, got, err)
		}
	}
}
