package forward

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds what a test waits for, on a machine that is busy.
const patience = time.Minute

// pair returns both ends of a connection over network, tcp or unix.
func pair(t testing.TB, network string) (near, far Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	near, far = c.(Conn), s.(Conn)
	for _, one := range []net.Conn{c, s} {
		t.Cleanup(func() { _ = one.Close() })
		if err := one.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
	}
	return near, far
}

// A chain is two connections that are joined: what user writes peer reads.
type chain struct {
	user, peer Conn
	relay      *Relay
	joined     chan error
}

func newChain(t testing.TB, ctx context.Context, networks [2]string, wrap func(*testing.T, Conn) Conn) *chain {
	t.Helper()
	user, a := pair(t, networks[0])
	b, peer := pair(t, networks[1])
	for _, c := range []Conn{a, b} {
		_ = c.(net.Conn).SetDeadline(time.Time{}) // the relay has none
	}
	if wrap != nil {
		b = wrap(t.(*testing.T), b)
	}
	c := &chain{user: user, peer: peer, relay: NewRelay(0), joined: make(chan error, 1)}
	go func() { c.joined <- c.relay.Join(ctx, a, b) }()
	t.Cleanup(func() { _ = c.relay.Close() })
	return c
}

// end waits until the relay has let go.
func (c *chain) end(t testing.TB) error {
	t.Helper()
	select {
	case err := <-c.joined:
		return err
	case <-time.After(patience):
		t.Fatal("the relay goes on")
		return nil
	}
}

func networks() map[string][2]string {
	return map[string][2]string{
		"tcp to tcp": {"tcp", "tcp"}, "tcp to unix": {"tcp", "unix"}, "unix to tcp": {"unix", "tcp"}, "unix to unix": {"unix", "unix"},
	}
}

// opaque hides that a connection is a socket: bytes have to be copied.
type opaque struct{ Conn }

func hidden(_ *testing.T, c Conn) Conn { return opaque{c} }

// TestHalfClose ends either direction first: the other one goes on.
func TestHalfClose(t *testing.T) {
	for name, n := range networks() {
		for _, wrap := range []func(*testing.T, Conn) Conn{nil, hidden} {
			for _, userFirst := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/hidden %v/user first %v", name, wrap != nil, userFirst), func(t *testing.T) {
					c := newChain(t, t.Context(), n, wrap)
					first, second := c.user, c.peer
					if !userFirst {
						first, second = second, first
					}
					say(t, first, "question")
					hear(t, second, "question")
					say(t, second, "answer")
					hear(t, first, "answer")
					if err := c.end(t); err != nil {
						t.Errorf("the relay says %v", err)
					}
				})
			}
		}
	}
}

func say(t *testing.T, c Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// hear reads until the end, which has to be there.
func hear(t *testing.T, c Conn, want string) {
	t.Helper()
	got, err := io.ReadAll(c)
	if err != nil || string(got) != want {
		t.Fatalf("heard %q, %v; want %q and its end", got, err, want)
	}
}

// TestReset resets either side: the other hears of a failure, not of an end.
func TestReset(t *testing.T) {
	for _, wrap := range []func(*testing.T, Conn) Conn{nil, hidden} {
		for _, user := range []bool{true, false} {
			c := newChain(t, t.Context(), [2]string{"tcp", "tcp"}, wrap)
			one, other := c.user, c.peer
			if !user {
				one, other = other, one
			}
			if wrap != nil && user {
				continue // the hidden one can't be reset: it is closed
			}
			_, _ = io.WriteString(one, "x")
			if _, err := io.ReadFull(other, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			Reset(one)
			if _, err := other.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("after a reset the other side heard %v", err)
			}
			if err := c.end(t); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the relay says %v", err)
			}
		}
	}
}

// TestLegEndsEarly closes the connection between two relays: that is a reset for who
// still talks, and an orderly end behind its own.
func TestLegEndsEarly(t *testing.T) {
	leg := func(t *testing.T, c Conn) Conn {
		l, err := NewLeg(c)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	t.Run("early", func(t *testing.T) {
		c := newChain(t, t.Context(), [2]string{"tcp", "unix"}, leg)
		_ = c.peer.Close()
		if _, err := c.user.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("heard %v, want a reset", err)
		}
	})
	t.Run("half", func(t *testing.T) {
		c := newChain(t, t.Context(), [2]string{"tcp", "unix"}, leg)
		say(t, c.peer, "answer")
		hear(t, c.user, "answer")
		say(t, c.user, "late")
		hear(t, c.peer, "late")
	})
	t.Run("orderly", func(t *testing.T) {
		c := newChain(t, t.Context(), [2]string{"tcp", "unix"}, leg)
		say(t, c.user, "question")
		hear(t, c.peer, "question")
		say(t, c.peer, "answer")
		_ = c.peer.Close()
		hear(t, c.user, "answer")
		if err := c.end(t); err != nil {
			t.Errorf("the relay says %v", err)
		}
	})
}

// TestBackPressure writes to a reader that has stopped: the writer has to stop, too,
// and what is under way is what sockets and one pipe hold.
func TestBackPressure(t *testing.T) {
	for name, n := range networks() {
		for _, wrap := range []func(*testing.T, Conn) Conn{nil, hidden} {
			t.Run(fmt.Sprintf("%s/hidden %v", name, wrap != nil), func(t *testing.T) {
				c := newChain(t, t.Context(), n, wrap)
				const most = 64 << 20
				sent := fillUp(t, c.user, most)
				if sent >= most {
					t.Fatalf("%d bytes went to a reader that reads nothing", sent)
				}
				_ = c.user.(net.Conn).SetDeadline(time.Now().Add(patience))
				go func() { _ = c.user.CloseWrite() }()
				if got, err := io.Copy(io.Discard, c.peer); err != nil || got != sent {
					t.Errorf("read %d bytes, %v; %d were written", got, err, sent)
				}
			})
		}
	}
}

// fillUp writes until the connection takes nothing for a while.
func fillUp(t *testing.T, c Conn, most int64) (sent int64) {
	t.Helper()
	buf := make([]byte, 256<<10)
	for sent < most {
		// No moment tells that nothing will move any more; a shorter wait makes the
		// test weaker, not wrong.
		_ = c.(net.Conn).SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		n, err := c.Write(buf)
		sent += int64(n)
		if err != nil {
			break
		}
	}
	return sent
}

// TestCancelEndsConnections ends the context amid a conversation.
func TestCancelEndsConnections(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := newChain(t, ctx, [2]string{"tcp", "unix"}, nil)
	cancel()
	if err := c.end(t); !errors.Is(err, context.Canceled) {
		t.Errorf("the relay says %v", err)
	}
	if _, err := c.user.Read(make([]byte, 1)); err == nil {
		t.Error("the connection goes on")
	}
}

// TestBothWaysIntact sends much both ways at once and compares digests.
func TestBothWaysIntact(t *testing.T) {
	const size = 1 << 30
	for name, wrap := range map[string]func(*testing.T, Conn) Conn{"spliced": nil, "copied": hidden} {
		t.Run(name, func(t *testing.T) {
			size := int64(size)
			if wrap != nil {
				size /= 16 // the same code but for the buffer
			}
			c := newChain(t, t.Context(), [2]string{"tcp", "unix"}, wrap)
			var all sync.WaitGroup
			digests := make([]hash.Hash, 4)
			for i, end := range []Conn{c.user, c.peer} {
				digests[i], digests[2+i] = sha256.New(), sha256.New()
				all.Go(func() { send(t, io.MultiWriter(end, digests[i]), uint64(i), size); _ = end.CloseWrite() })
				all.Go(func() {
					if _, err := io.Copy(digests[3-i], end); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			for i := range 2 {
				if sent, got := digests[i].Sum(nil), digests[2+i].Sum(nil); string(sent) != string(got) {
					t.Errorf("direction %d: sent %x, got %x", i, sent, got)
				}
			}
			if err := c.end(t); err != nil {
				t.Errorf("the relay says %v", err)
			}
			if spliced := c.relay.spliced.Load(); (spliced == 2*size) != (wrap == nil) {
				t.Errorf("%d of %d bytes were spliced", spliced, 2*size)
			}
		})
	}
}

func send(t *testing.T, w io.Writer, seed uint64, size int64) {
	random := rand.NewChaCha8([32]byte{byte(seed)})
	if _, err := io.CopyN(w, random, size); err != nil {
		t.Error(err)
	}
}

// appended is a file that is written at its end: the kernel refuses to splice to
// such a one, when bytes are in the pipe already.
type appended struct{ *os.File }

func (appended) CloseWrite() error { return nil }

// TestFallsBackFromSplice joins what the kernel does not splice.
func TestFallsBackFromSplice(t *testing.T) {
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "file"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	user, a := pair(t, "unix")
	_ = a.(net.Conn).SetDeadline(time.Time{})
	go func() {
		send(t, user, 1, 1<<20)
		_ = user.CloseWrite()
	}()
	r := NewRelay(0)
	defer r.Close()
	if err := r.flow(appended{f}, a); err != nil {
		t.Fatal(err)
	}
	got, want := sha256.New(), sha256.New()
	send(t, want, 1, 1<<20)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(got, f); err != nil || string(got.Sum(nil)) != string(want.Sum(nil)) {
		t.Errorf("the bytes are others, %v", err)
	}
	if r.copied.Load() == 0 {
		t.Error("nothing was copied: the test is about nothing")
	}
}
