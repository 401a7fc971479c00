package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/vmlaunch/vmlaunch/forward"
	"github.com/vmlaunch/vmlaunch/internal/agentconfig"
	"github.com/vmlaunch/vmlaunch/internal/tunnel"
)

// handshakeTime bounds a client's way from connect to login. It takes some
// milliseconds on a processor, and seconds in an emulator that runs in an
// emulator with fifty clients at once.
const handshakeTime = 2 * time.Minute

// acceptPause is how long a listener rests after it could not accept, for
// want of descriptors or memory.
const acceptPause = 100 * time.Millisecond

// A server lets those in who have one of the configured keys, as root, and
// gives them sessions, files, and connections to what listens here. Nothing else of
// SSH is there: no passwords, no ports of the client's.
type server struct {
	con      console
	config   *ssh.ServerConfig
	tunnels  tunnel.Guest
	relay    *forward.Relay
	children *reaper
	end      func(ending)   // asks for an end of the machine
	shell    string         // path, or empty where there is none
	open     sync.WaitGroup // open connections
}

// newServer fails if the host key or an authorized key can't be read.
func newServer(cfg agentconfig.Config, con console, children *reaper, end func(ending)) (*server, error) {
	hostKey, err := ssh.ParsePrivateKey([]byte(cfg.HostKey))
	if err != nil {
		return nil, fmt.Errorf("ssh host key: %w", err)
	}
	var authorized [][]byte
	for _, line := range cfg.AuthorizedKeys {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			return nil, fmt.Errorf("authorized key %q: %w", line, err)
		}
		authorized = append(authorized, key.Marshal())
	}
	known := func(key ssh.PublicKey) bool {
		offered := key.Marshal()
		return slices.ContainsFunc(authorized, func(a []byte) bool { return bytes.Equal(a, offered) })
	}
	most, err := forward.Most()
	if err != nil {
		return nil, err
	}
	s := &server{con: con, children: children, end: end, shell: findShell(), relay: forward.NewRelay(most)}
	s.tunnels = tunnel.Guest{Host: hostKey, Authorized: known}
	s.config = &ssh.ServerConfig{
		ServerVersion: "SSH-2.0-vmlaunch",
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if known(key) {
				return &ssh.Permissions{}, nil
			}
			return nil, errors.New("key is not authorized")
		},
	}
	s.config.AddHostKey(hostKey)
	return s, nil
}

// findShell returns the first shell there is, or nothing.
func findShell() string {
	for _, path := range []string{"/bin/sh", "/bin/busybox"} {
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// serve accepts connections until l is closed.
func (s *server) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.con.printf("accept: %v", err)
			time.Sleep(acceptPause) //nolint:forbidigo // out of descriptors, say: nothing to be seen
			continue
		}
		s.open.Go(func() { s.converse(conn) })
	}
}

// converse serves one client to the end of its connection. The sessions that
// it left open are hung up.
func (s *server) converse(conn net.Conn) {
	late := time.AfterFunc(handshakeTime, func() { _ = conn.Close() })
	client, channels, requests, err := ssh.NewServerConn(conn, s.config)
	late.Stop()
	if err != nil {
		_ = conn.Close() // the client knows best why it left: a wrong key, a probe, a scan
		return
	}
	defer client.Close()
	var parts sync.WaitGroup
	parts.Go(func() { ssh.DiscardRequests(requests) })
	for offered := range channels {
		if offered.ChannelType() != "session" {
			parts.Go(func() { s.direct(offered) })
			continue
		}
		channel, requests, err := offered.Accept()
		if err != nil {
			continue // the connection is gone, and the loop with it
		}
		parts.Go(func() { s.newSession(channel).serve(requests) })
	}
	parts.Wait()
}
