package guest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/vmlaunch/vmlaunch/forward"
)

// A Client is an SSH connection into one guest. It is safe for concurrent use:
// many programs may run over one connection.
type Client struct {
	conn  ssh.Conn
	dead  chan struct{}  // closed when the connection has ended
	parts sync.WaitGroup // what the library wants drained
}

// NewClient makes an SSH connection of conn and takes it over: it is closed if
// NewClient fails, and by [Client.Close] otherwise. The guest has to prove that
// it owns k.Host.
//
// It fails with [ErrIdentity] if it does not, with [fs.ErrPermission] if the
// guest does not take the private key, with ctx's error if the handshake
// is not done before ctx ends, and with the connection's error.
func NewClient(ctx context.Context, conn net.Conn, k Key) (*Client, error) {
	signer, err := ssh.ParsePrivateKey(k.Private)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("client key: %w", err), conn.Close())
	}
	late := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(late)
		_ = conn.Close() // ends the handshake
	})
	sc, channels, requests, err := ssh.NewClientConn(conn, "", clientConfig(k, signer))
	if !stop() {
		<-late
		if err == nil {
			_ = sc.Close()
		}
		return nil, fmt.Errorf("ssh handshake: %w", context.Cause(ctx))
	}
	if err != nil {
		return nil, fmt.Errorf("ssh handshake: %w", handshakeError(err))
	}
	c := &Client{conn: sc, dead: make(chan struct{})}
	c.parts.Go(func() {
		_ = sc.Wait() // whoever uses the connection hears of its end himself
		close(c.dead)
	})
	c.parts.Go(func() { ssh.DiscardRequests(requests) })
	c.parts.Go(func() {
		for offered := range channels {
			_ = offered.Reject(ssh.Prohibited, "the host opens no channels for guests")
		}
	})
	return c, nil
}

// clientConfig puts first what is cheapest: a handshake may run in an emulator.
// The connection never leaves this machine, and ends with it.
func clientConfig(k Key, signer ssh.Signer) *ssh.ClientConfig {
	return &ssh.ClientConfig{
		Config: ssh.Config{
			KeyExchanges: []string{ssh.KeyExchangeCurve25519, ssh.KeyExchangeMLKEM768X25519, ssh.KeyExchangeECDHP256},
		},
		User:              cmp.Or(k.User, "root"),
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback:   pinned(k.Host),
		HostKeyAlgorithms: []string{k.Host.Type()},
		ClientVersion:     "SSH-2.0-vmlaunch",
	}
}

// handshakeError is where the SSH library's answers get their meaning. It has
// no error value for a refused key, only words.
func handshakeError(err error) error {
	if strings.Contains(err.Error(), "unable to authenticate") {
		return fmt.Errorf("%w: the guest does not know this machine's key", fs.ErrPermission)
	}
	return identity(err)
}

// open opens a channel of that kind, or fails with [ErrGone], or with the guest's
// refusal.
//
// The library's OpenChannel never returns if it begins while the connection
// ends: its error of writing is kept for the next who writes, and its answer
// waited for on a channel that nobody knows any more (golang.org/x/crypto v0.58,
// ssh/handshake.go, writePacket). In that case, which takes bad luck, the
// goroutine here is left to it.
func (c *Client) open(ctx context.Context, kind string, extra []byte) (ssh.Channel, <-chan *ssh.Request, error) {
	type answer struct {
		ch       ssh.Channel
		requests <-chan *ssh.Request
		err      error
	}
	answered := make(chan answer, 1)
	go func() {
		ch, requests, err := c.conn.OpenChannel(kind, extra)
		answered <- answer{ch, requests, err}
	}()
	select {
	case a := <-answered:
		if a.err != nil {
			return nil, nil, fmt.Errorf("open %s: %w", kind, gone(a.err))
		}
		return a.ch, a.requests, nil
	case <-c.dead:
		return nil, nil, fmt.Errorf("open %s: %w", kind, ErrGone)
	case <-ctx.Done():
		go func() { // ends with the guest's answer, or is left as above
			if a := <-answered; a.err == nil {
				_ = a.ch.Close()
			}
		}()
		return nil, nil, fmt.Errorf("open %s: %w", kind, context.Cause(ctx))
	}
}

// Connect connects to something inside the guest, as ssh -L does: network and address
// as package net has them, tcp or unix. It works with every SSH server that allows it.
// The caller closes the connection. It fails with [ErrGone], with the guest's own
// words if it can't connect or does not allow it, and with ctx's error.
func (c *Client) Connect(ctx context.Context, network, address string) (forward.Conn, error) {
	kind, extra, err := directChannel(network, address)
	if err != nil {
		return nil, err
	}
	ch, requests, err := c.open(ctx, kind, extra)
	if err != nil {
		return nil, err
	}
	go ssh.DiscardRequests(requests) // ends with the channel
	return ch, nil
}

// directChannel returns the kind of a channel to an address and what says where it
// leads: RFC 4254, 7.2, and PROTOCOL of OpenSSH's source.
func directChannel(network, address string) (kind string, extra []byte, err error) {
	if network == "unix" {
		return "direct-streamlocal@openssh.com", ssh.Marshal(struct {
			Path      string
			Reserved  string
			Reserved2 uint32
		}{Path: address}), nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", nil, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", nil, err
	}
	return "direct-tcpip", ssh.Marshal(struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}{Host: host, Port: uint32(number), OriginHost: "127.0.0.1"}), nil
}

// Close closes the connection. Programs that still run over it are hung up by
// the guest. Closing twice is fine.
func (c *Client) Close() error {
	err := c.conn.Close()
	c.parts.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
