package guest

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// beatEvery is how often an anchor says something that wants no answer. A guest that
// was reset knows nothing of the connections it had, and its host hears of that only
// when it sends something: without a word a connection would wait for ever.
const beatEvery = time.Second

// An Anchor is a connection to a machine that has proved who it is, and that is kept:
// as long as it holds, the same guest is there. It breaks when the guest has restarted, as
// soon as that answers again, and when its QEMU ends. A nil one always holds. It is safe for
// concurrent use.
type Anchor struct {
	broken  <-chan struct{}
	close   func() error
	beating sync.WaitGroup
	stop    chan struct{}
	once    sync.Once
}

// AnchorAgent makes an anchor in the built-in guest with cid. It fails as [Tunnel]
// does. The caller closes the anchor.
func AnchorAgent(ctx context.Context, ns *netns.NS, cid vsock.CID, key Key) (*Anchor, error) {
	conn, err := openTunnel(ctx, ns, cid, key, "")
	if err != nil {
		return nil, err
	}
	return anchorIn(conn), nil
}

// AnchorProbe makes an anchor in the probe guest with cid. It fails as [DialProbe]
// does. The caller closes the anchor.
func AnchorProbe(ctx context.Context, ns *netns.NS, cid vsock.CID, token string) (*Anchor, error) {
	p, err := DialProbe(ctx, ns, cid, token)
	if err != nil {
		return nil, err
	}
	return anchorIn(p.conn), nil
}

// AnchorClient makes an anchor of an SSH connection, which it takes over: closing
// the anchor closes it.
func AnchorClient(c *Client) *Anchor {
	return newAnchor(c.dead, c.Close, func() error {
		_, _, err := c.conn.SendRequest("keepalive@openssh.com", false, nil)
		return err
	})
}

// anchorIn takes over a connection on which the other side says nothing more, and takes
// empty lines.
func anchorIn(conn net.Conn) *Anchor {
	broken := make(chan struct{})
	go func() { // ends with the connection
		defer close(broken)
		_, _ = conn.Read(make([]byte, 1))
		_ = conn.Close()
	}()
	shut := func() error {
		err := conn.Close()
		<-broken
		return err
	}
	return newAnchor(broken, shut, func() error {
		_ = conn.SetWriteDeadline(time.Now().Add(beatEvery))
		_, err := conn.Write([]byte("\n"))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil // a guest that is paused takes no more, and is there
		}
		return err
	})
}

func newAnchor(broken <-chan struct{}, shut, beat func() error) *Anchor {
	a := &Anchor{broken: broken, close: shut, stop: make(chan struct{})}
	a.beating.Go(func() {
		tick := time.NewTicker(beatEvery)
		defer tick.Stop()
		for {
			select {
			case <-a.stop:
				return
			case <-a.broken:
				return
			case <-tick.C:
				if beat() != nil {
					_ = shut() // whoever reads it hears
					return
				}
			}
		}
	})
	return a
}

// Broken is closed when the anchor does not hold any more.
func (a *Anchor) Broken() <-chan struct{} {
	if a == nil {
		return nil
	}
	return a.broken
}

// Holds reports whether the connection is still there.
func (a *Anchor) Holds() bool {
	select {
	case <-a.Broken():
		return false
	default:
		return true
	}
}

// Close gives the connection up. It fails as closing a connection does. Closing twice
// is fine.
func (a *Anchor) Close() error {
	a.once.Do(func() { close(a.stop) })
	err := a.close()
	a.beating.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
