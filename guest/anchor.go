package guest

import (
	"context"
	"io"

	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// An Anchor is a connection to a machine that has proved who it is, and that is kept:
// as long as it holds, the same guest is there. A guest that restarts, and a QEMU that
// ends, break it. It is safe for concurrent use.
type Anchor struct {
	broken <-chan struct{}
	close  func() error
}

// AnchorAgent makes an anchor in the built-in guest with cid. It fails as [Tunnel]
// does. The caller closes the anchor.
func AnchorAgent(ctx context.Context, ns *netns.NS, cid vsock.CID, key Key) (*Anchor, error) {
	conn, err := openTunnel(ctx, ns, cid, key, "")
	if err != nil {
		return nil, err
	}
	return newAnchor(conn), nil
}

// AnchorProbe makes an anchor in the probe guest with cid. It fails as [DialProbe]
// does. The caller closes the anchor.
func AnchorProbe(ctx context.Context, ns *netns.NS, cid vsock.CID, token string) (*Anchor, error) {
	p, err := DialProbe(ctx, ns, cid, token)
	if err != nil {
		return nil, err
	}
	return newAnchor(p.conn), nil
}

// AnchorClient makes an anchor of an SSH connection, which it takes over: closing
// the anchor closes it.
func AnchorClient(c *Client) *Anchor { return &Anchor{broken: c.dead, close: c.Close} }

// newAnchor takes over a connection on which the other side says nothing more.
func newAnchor(conn io.ReadCloser) *Anchor {
	broken := make(chan struct{})
	go func() { // ends with the connection
		defer close(broken)
		_, _ = conn.Read(make([]byte, 1))
	}()
	return &Anchor{broken: broken, close: func() error {
		err := conn.Close()
		<-broken
		return err
	}}
}

// Holds reports whether the connection is still there.
func (a *Anchor) Holds() bool {
	select {
	case <-a.broken:
		return false
	default:
		return true
	}
}

// Close gives the connection up.
func (a *Anchor) Close() error { return a.close() }
