package guest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
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

// open opens a session channel, or fails with [ErrGone].
//
// The library's OpenChannel never returns if it begins while the connection
// ends: its error of writing is kept for the next who writes, and its answer
// waited for on a channel that nobody knows any more (golang.org/x/crypto v0.58,
// ssh/handshake.go, writePacket). In that case, which takes bad luck, the
// goroutine here is left to it.
func (c *Client) open() (ssh.Channel, <-chan *ssh.Request, error) {
	type answer struct {
		ch       ssh.Channel
		requests <-chan *ssh.Request
		err      error
	}
	answered := make(chan answer, 1)
	go func() {
		ch, requests, err := c.conn.OpenChannel("session", nil)
		answered <- answer{ch, requests, err}
	}()
	select {
	case a := <-answered:
		if a.err != nil {
			return nil, nil, fmt.Errorf("open session: %w", gone(a.err))
		}
		return a.ch, a.requests, nil
	case <-c.dead:
		return nil, nil, fmt.Errorf("open session: %w", ErrGone)
	}
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
