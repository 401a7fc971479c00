package guest

import (
	"context"
	"errors"
	"fmt"
	"net"

	"golang.org/x/crypto/ssh"

	"github.com/vmlaunch/vmlaunch/internal/agentconfig"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// A Key is what it takes to enter one machine and to know that it is the one.
type Key struct {
	User    string        // who to be there; "" is root
	Private []byte        // the client's, PEM
	Host    ssh.PublicKey // the machine's
}

// dialTries is how often a connection is begun that the guest does not answer. The
// kernel gives up after 2 s (VSOCK_DEFAULT_CONNECT_TIMEOUT), which is not long for a
// guest that shares two emulated processors with ten others.
const dialTries = 5

// DialPort connects to a port of the machine with cid, from inside ns. It fails as
// [vsock.Dial] does, with ETIMEDOUT only after several tries. It does not find out
// who answers; see [Anchor]. The caller closes the connection.
func DialPort(ctx context.Context, ns *netns.NS, cid vsock.CID, port uint32) (net.Conn, error) {
	return dial(ctx, ns, cid, port)
}

func dial(ctx context.Context, ns *netns.NS, cid vsock.CID, port uint32) (conn net.Conn, err error) {
	err = persist(func() error {
		return ns.Do(func() (err error) {
			conn, err = vsock.Dial(ctx, cid, port)
			return err
		})
	})
	return conn, err
}

// persist calls try again where more patience may help.
func persist(try func() error) error {
	var err error
	for range dialTries {
		err = try()
		if d, ok := errors.AsType[*vsock.DialError](err); !ok || !d.Timeout() {
			return err
		}
	}
	return err
}

// Dial connects to the SSH server of the machine with cid, from inside ns: a
// CID means something in its own namespace only. The caller closes the client.
//
// It fails as [vsock.Dial] and [NewClient] do; both are bounded by ctx.
func Dial(ctx context.Context, ns *netns.NS, cid vsock.CID, key Key) (*Client, error) {
	conn, err := dial(ctx, ns, cid, agentconfig.SSHPort)
	if err != nil {
		return nil, err
	}
	c, err := NewClient(ctx, conn, key)
	if err != nil {
		return nil, fmt.Errorf("vsock %d:%d: %w", cid, agentconfig.SSHPort, err)
	}
	return c, nil
}
