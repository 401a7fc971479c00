package guest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/vmlaunch/vmlaunch/forward"
	"github.com/vmlaunch/vmlaunch/internal/agentconfig"
	"github.com/vmlaunch/vmlaunch/internal/tunnel"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// Tunnel connects to something inside the built-in guest with cid, from inside ns:
// network and address as package net has them, tcp or unix. It goes through the
// guest's forward service, which proves who it is first. The caller closes the
// connection.
//
// It fails as [vsock.Dial] does, with [ErrIdentity], with the guest's own words if it
// can't connect, and with ctx's error.
func Tunnel(ctx context.Context, ns *netns.NS, cid vsock.CID, key Key, network, address string) (*forward.Leg, error) {
	conn, err := openTunnel(ctx, ns, cid, key, network+" "+address)
	if err != nil {
		return nil, err
	}
	leg, err := forward.NewLeg(conn)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return leg, nil
}

// A socket is what vsock.Dial gives, in full.
type socket interface {
	net.Conn
	CloseWrite() error
}

// openTunnel asks the forward service for target.
func openTunnel(ctx context.Context, ns *netns.NS, cid vsock.CID, key Key, target string) (socket, error) {
	client, err := ssh.ParsePrivateKey(key.Private)
	if err != nil {
		return nil, fmt.Errorf("client key: %w", err)
	}
	raw, err := dial(ctx, ns, cid, agentconfig.ForwardPort)
	if err != nil {
		return nil, err
	}
	conn, ok := raw.(socket)
	if !ok { // package vsock promises it
		return nil, errors.Join(fmt.Errorf("a %T can't end one direction", raw), raw.Close())
	}
	if err := challenge(ctx, conn, client, key.Host, target); err != nil {
		_ = conn.Close()
		if refused, ok := errors.AsType[*tunnel.RefusedError](err); ok {
			return nil, refused
		}
		return nil, fmt.Errorf("vsock %d:%d: %w", cid, agentconfig.ForwardPort, err)
	}
	return conn, nil
}

// challenge has both sides prove who they are, before ctx ends.
func challenge(ctx context.Context, conn net.Conn, client ssh.Signer, host ssh.PublicKey, target string) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err := tunnel.Open(conn, client, host, target)
	if !stop() {
		return context.Cause(ctx)
	}
	if stranger, ok := errors.AsType[*tunnel.StrangerError](err); ok {
		return strangerKey(stranger.Have, stranger.Want)
	}
	if errors.Is(err, tunnel.ErrProtocol) {
		return &IdentityError{text: err.Error()}
	}
	return err
}
