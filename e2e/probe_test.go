package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// echoPort is the probe guest's echo service (image/probe/PROTOCOL.md).
const echoPort = 7

// connect opens one connection from inside a namespace.
func connect(t *testing.T, ns string, cid vsock.CID, port uint32) (c net.Conn, err error) {
	t.Helper()
	n, err := netns.Open(ns)
	if err != nil {
		return nil, err
	}
	defer n.Close()
	err = n.Do(func() (err error) {
		c, err = vsock.Dial(t.Context(), cid, port)
		return err
	})
	return c, err
}

// Issue A, k: 200 connections at once, each answered with its own bytes.
func TestProbeServes200Connections(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	h := newHost(t)
	h.netns("cell", "local")
	h.up(probe, "apple", "cell")
	const connections = 200
	conns := make([]net.Conn, connections)
	for i := range conns {
		c, err := connect(t, "cell", sameCID, echoPort)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer c.Close()
		conns[i] = c
	}
	var group sync.WaitGroup
	for i, c := range conns {
		group.Go(func() {
			want := fmt.Sprintf("connection %d", i)
			if _, err := io.WriteString(c, want); err != nil {
				t.Errorf("write %d: %v", i, err)
				return
			}
			got := make([]byte, len(want))
			if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
				t.Errorf("echo %d: %q, %v", i, got, err)
			}
		})
	}
	group.Wait()
}

// Issue A, k: 64 MiB through the echo, more than any buffer on the way holds.
func TestProbeEchoes64MiB(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	h := newHost(t)
	h.netns("cell", "local")
	h.up(probe, "apple", "cell")
	c, err := connect(t, "cell", sameCID, echoPort)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const size = 64 << 20
	sent, got := sha256.New(), sha256.New()
	var seed [32]byte
	source := io.TeeReader(io.LimitReader(rand.NewChaCha8(seed), size), sent)
	written := make(chan error, 1)
	go func() {
		_, err := io.Copy(c, source)
		written <- err
	}()
	n, err := io.Copy(got, io.LimitReader(c, size))
	if werr := <-written; err != nil || werr != nil || n != size {
		t.Fatalf("got %d of %d bytes back, read: %v, write: %v", n, size, err, werr)
	}
	if !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		t.Error("the echo differs from what was sent")
	}
}

// Issue A, k: the guest dials out, and the errno that came back is reported.
func TestProbeDialsOut(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	h := newHost(t)
	h.netns("cell", "local")
	h.up(probe, "apple", "cell")
	open := listen(t, "cell")
	elsewhere := listen(t, "")
	for _, c := range []struct {
		name string
		port uint32
		want string
	}{
		{"to a listener in its namespace", open, "OK"},
		{"to a port where nobody listens", 9, "ERR ECONNRESET"},
		{"to a listener outside its namespace", elsewhere, "ERR ECONNRESET"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := h.run("exec", "apple", "--", "DIAL", "2", fmt.Sprint(c.port))
			if !strings.HasPrefix(r.stdout, c.want) {
				t.Errorf("want %q: %s", c.want, r)
			}
		})
	}
}

// Issue A, k: a reboot keeps the CID and comes back ready.
func TestProbeReboots(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	h := newHost(t)
	h.netns("cell", "local")
	h.up(probe, "apple", "cell")
	before := h.inspect("apple")
	h.must("qmp", "apple", "system_reset")
	h.must("wait", "apple", "--for", "ready", "--timeout", "60s")
	h.wantName(probe, "apple")
	if m := h.inspect("apple"); m.CID != sameCID || m.PID != before.PID {
		t.Errorf("after the reset: %+v, before: %+v", m, before)
	}
}
