package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/forward"
)

// targetTime bounds a connection to something in this guest, or beyond it. What
// refuses says so at once; Linux itself would try for two minutes.
const targetTime = 20 * time.Second

// openFiles is how many descriptors the agent may have: the 4096 that init gets
// are not enough for a thousand connections.
const openFiles = 1 << 16

// serveForward serves the forward service until l is closed; see package tunnel.
func (s *server) serveForward(ctx context.Context, l net.Listener) {
	f := forward.Server{Listener: l, Relay: s.relay, Handle: s.forward, Say: func(text string) { s.con.printf("forward: %s", text) }}
	if err := f.Serve(ctx); err != nil && !errors.Is(err, net.ErrClosed) && ctx.Err() == nil {
		s.con.printf("forward: %v", err)
	}
}

// forward serves one connection: who it is, where it wants to go, and then there.
func (s *server) forward(ctx context.Context, client forward.Conn) error {
	leg, err := forward.NewLeg(client)
	if err != nil {
		_ = client.Close()
		return err
	}
	late := time.AfterFunc(handshakeTime, func() { _ = client.Close() })
	stop := context.AfterFunc(ctx, func() { _ = client.Close() })
	var there forward.Conn
	err = s.tunnels.Serve(client, func(target string) (err error) {
		there, err = dialTarget(ctx, target)
		return err
	})
	late.Stop()
	stop()
	switch {
	case err != nil:
		_ = client.Close()
		if there != nil {
			forward.Reset(there)
		}
		return nil // the client has been told, or is gone
	case there == nil: // it only asked who we are, and keeps the line
		stop := context.AfterFunc(ctx, func() { _ = client.Close() })
		defer stop()
		_, _ = io.Copy(io.Discard, client) // a word now and then, see guest.Anchor
		return client.Close()
	}
	_ = s.relay.Join(ctx, there, leg) // both sides were told
	return nil
}

// dialTarget connects to NETWORK ADDRESS, as package net names them.
func dialTarget(ctx context.Context, target string) (forward.Conn, error) {
	network, address, _ := strings.Cut(target, " ")
	if network != "tcp" && network != "unix" {
		return nil, fmt.Errorf("network %q: want tcp or unix", network)
	}
	ctx, cancel := context.WithTimeout(ctx, targetTime)
	defer cancel()
	var d net.Dialer
	var errs []error
	for _, a := range addresses(network, address) {
		conn, err := d.DialContext(ctx, network, a)
		if err == nil {
			return conn.(forward.Conn), nil // package net's of both networks are
		}
		errs = append(errs, err)
	}
	return nil, errs[0]
}

// addresses returns what an address means: localhost is known without /etc/hosts.
func addresses(network, address string) []string {
	if port, ok := strings.CutPrefix(address, "localhost:"); ok && network == "tcp" {
		return []string{"127.0.0.1:" + port, "[::1]:" + port}
	}
	return []string{address}
}

// direct connects a channel that the client opens for one connection, as ssh -L
// does: RFC 4254, 7.2, and streamlocal in PROTOCOL of OpenSSH's source.
func (s *server) direct(offered ssh.NewChannel) {
	target, ok := directTarget(offered.ChannelType(), offered.ExtraData())
	if !ok {
		_ = offered.Reject(ssh.UnknownChannelType, "sessions and direct connections only")
		return
	}
	there, err := dialTarget(context.Background(), target)
	if err != nil {
		_ = offered.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	channel, requests, err := offered.Accept()
	if err != nil { // the client is gone
		forward.Reset(there)
		return
	}
	go ssh.DiscardRequests(requests) // ends with the channel
	_ = s.relay.Join(context.Background(), there, channel)
}

// directTarget returns what a channel of that kind is to be connected with.
func directTarget(kind string, extra []byte) (target string, ok bool) {
	switch kind {
	case "direct-tcpip":
		var m struct {
			Host       string
			Port       uint32
			OriginHost string
			OriginPort uint32
		}
		if ssh.Unmarshal(extra, &m) != nil || m.Port > 1<<16-1 {
			return "", false
		}
		return "tcp " + net.JoinHostPort(m.Host, strconv.FormatUint(uint64(m.Port), 10)), true
	case "direct-streamlocal@openssh.com":
		var m struct {
			Path      string
			Reserved  string
			Reserved2 uint32
		}
		return "unix " + m.Path, ssh.Unmarshal(extra, &m) == nil
	}
	return "", false
}

// raiseOpenFiles gives this process, and not the programs that it starts, more
// descriptors: package syscall would pass a limit on that it knows of, so it
// is not asked. Where it fails the limit stays as it was.
func raiseOpenFiles() {
	limit := unix.Rlimit{Cur: openFiles, Max: openFiles}
	_, _, _ = unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
}
