package command

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
)

// far returns the two ends of a connection; the near one is relay's.
func far(t *testing.T) (near, other *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return c.(*net.TCPConn), a.(*net.TCPConn)
}

// TestRelayAfterTheEndOfInput lets the other side answer what it has heard to the
// end: one direction that ends does not end the other.
func TestRelayAfterTheEndOfInput(t *testing.T) {
	near, other := far(t)
	go func() {
		heard, _ := io.ReadAll(other)
		_, _ = other.Write(bytes.ToUpper(heard))
		other.Close()
	}()
	var out bytes.Buffer
	if err := relay(t.Context(), near, strings.NewReader("hello"), &out); err != nil || out.String() != "HELLO" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

// TestRelayEndsWithTheOtherSide has an input that never ends.
func TestRelayEndsWithTheOtherSide(t *testing.T) {
	near, other := far(t)
	in, keep, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer keep.Close()
	go func() {
		_, _ = other.Write([]byte("bye"))
		other.Close()
	}()
	var out bytes.Buffer
	if err := relay(t.Context(), near, in, &out); err != nil || out.String() != "bye" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

func TestRelayFailures(t *testing.T) {
	t.Run("input", func(t *testing.T) {
		near, other := far(t)
		go func() { _, _ = io.Copy(io.Discard, other); other.Close() }()
		boom := errors.New("boom")
		if err := relay(t.Context(), near, io.MultiReader(strings.NewReader("x"), broken{boom}), io.Discard); !errors.Is(err, boom) {
			t.Errorf("got %v, want the input's error", err)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		near, _ := far(t)
		in, keep, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		defer keep.Close()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := relay(ctx, near, in, io.Discard); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
	})
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

func TestParsePort(t *testing.T) {
	for text, want := range map[string]uint32{"0": 0, "22": 22, "4294967294": 4294967294} {
		if p, err := parsePort(text); err != nil || p != want {
			t.Errorf("%s: %d, %v", text, p, err)
		}
	}
	for _, text := range []string{"", "-1", "ssh", "4294967295", "4294967296", "0x16"} {
		if p, err := parsePort(text); !errors.Is(err, ErrUsage) {
			t.Errorf("%q: %d, %v, want ErrUsage", text, p, err)
		}
	}
}
