package guest

import (
	"context"
	"fmt"
	"net"

	"golang.org/x/crypto/ssh"

	"github.com/vmlaunch/vmlaunch/internal/agentconfig"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// A Key is what it takes to enter one machine and to know that it is the one.
type Key struct {
	Private []byte        // the client's, PEM
	Host    ssh.PublicKey // the machine's
}

// Dial connects to the SSH server of the machine with cid, from inside ns: a
// CID means something in its own namespace only. The caller closes the client.
//
// It fails as [vsock.Dial] and [NewClient] do; both are bounded by ctx.
func Dial(ctx context.Context, ns *netns.NS, cid vsock.CID, key Key) (*Client, error) {
	var conn net.Conn
	err := ns.Do(func() (err error) {
		conn, err = vsock.Dial(ctx, cid, agentconfig.SSHPort)
		return err
	})
	if err != nil {
		return nil, err
	}
	c, err := NewClient(ctx, conn, key.Private, key.Host)
	if err != nil {
		return nil, fmt.Errorf("vsock %d:%d: %w", cid, agentconfig.SSHPort, err)
	}
	return c, nil
}
