package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/forward"
	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
)

// routeTime bounds one connection through a [Route], from the first packet to the
// answer of what is to be reached. A guest in a nest with a thousand connections
// at once needs tens of seconds.
const routeTime = 2 * time.Minute

// ErrEnded says that the machine ended while its ports were forwarded.
var ErrEnded = errors.New("has ended, and its ports with it")

// A Route leads into one run of a machine, from wherever it is used: connections are
// begun inside the machine's namespace, and made only to the machine that was
// meant. It is safe for concurrent use.
type Route struct {
	l     *Launcher
	m     store.Machine
	ns    *netns.NS
	key   guest.Key // of a guest with SSH
	alive func() bool

	mu     sync.Mutex
	client *guest.Client // of a guest that is not the built-in one
	anchor *guest.Anchor
}

// Route returns the route into the machine called name. The caller closes it. It
// fails with [fs.ErrNotExist], and with a [*PhaseError] if the machine is down.
func (l *Launcher) Route(ctx context.Context, name string) (*Route, error) {
	m, err := l.running(ctx, name)
	if err != nil {
		return nil, err
	}
	ns, err := enter(m)
	if err != nil {
		return nil, fmt.Errorf("connect to machine %q: %w", name, err)
	}
	return l.newRoute(m, ns, m.QEMU.Alive)
}

// newRoute takes ns over. Alive reports whether the QEMU of this run lives.
func (l *Launcher) newRoute(m store.Machine, ns *netns.NS, alive func() bool) (*Route, error) {
	r := &Route{l: l, m: m, ns: ns, alive: alive}
	if m.Spec.Image == configs.ImageProbe {
		return r, nil
	}
	keys, err := l.folder(m.Name).readKeys()
	if err == nil {
		r.key.Private = keys.Client
		r.key.Host, err = guest.ParsePublic(keys.HostPub)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("machine %q: %w", m.Name, err), ns.Close())
	}
	return r, nil
}

// Wait returns nil when the machine's QEMU has ended, or ctx's error.
func (r *Route) Wait(ctx context.Context) error { return r.m.QEMU.Wait(ctx) }

// Check has the guest prove who it is. It fails as [Route.Dial] does.
func (r *Route) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, routeTime)
	defer cancel()
	if _, err := r.hold(ctx); err != nil {
		return r.l.connectError(ctx, r.m, err)
	}
	return nil
}

// Dial connects to target in the machine, once its guest has proved who it is. The
// caller closes the connection. It fails with a [*StrangerError], as vsock.Dial does,
// with what the guest says if it can't connect, with a [*PhaseError] if the
// machine has ended, with [errors.ErrUnsupported] for what a probe guest
// does not have, and with ctx's error.
func (r *Route) Dial(ctx context.Context, target configs.Endpoint) (forward.Conn, error) {
	if !r.alive() {
		return nil, &PhaseError{Name: r.m.Name, Have: Stopped, Want: "running", Hint: "vmlaunch start " + r.m.Name}
	}
	ctx, cancel := context.WithTimeout(ctx, routeTime)
	defer cancel()
	conn, err := r.dial(ctx, target)
	if err != nil {
		return nil, r.l.connectError(ctx, r.m, err)
	}
	return conn, nil
}

func (r *Route) dial(ctx context.Context, target configs.Endpoint) (forward.Conn, error) {
	if target.Network == configs.NetworkVsock {
		return r.dialPort(ctx, target.Port)
	}
	address := target.Path
	if target.Network == configs.NetworkTCP {
		address = target.HostPort()
	}
	switch r.m.Spec.Image {
	case configs.ImageProbe:
		return nil, &MissingError{What: target.Network + " in a probe guest", Hint: "vsock:PORT is there"}
	case configs.ImageLinux:
		leg, err := guest.Tunnel(ctx, r.ns, r.m.CID, r.key, target.Network, address)
		if err != nil {
			return nil, err // not a nil *Leg in an interface
		}
		return leg, nil
	}
	c, err := r.ssh(ctx)
	if err != nil {
		return nil, err
	}
	return c.Connect(ctx, target.Network, address)
}

// dialPort connects to a vsock port, of which nobody proves anything: the
// anchor, which has, holds before and after, and so does the QEMU that has the CID.
func (r *Route) dialPort(ctx context.Context, port uint32) (forward.Conn, error) {
	anchor, err := r.hold(ctx)
	if err != nil {
		return nil, err
	}
	raw, err := guest.DialPort(ctx, r.ns, r.m.CID, port)
	if err != nil {
		return nil, err
	}
	conn, ok := raw.(forward.Conn)
	if !ok { // package vsock promises it
		return nil, errors.Join(fmt.Errorf("a %T can't end one direction", raw), raw.Close())
	}
	if !r.alive() || !anchor.Holds() {
		forward.Reset(conn)
		return nil, guest.ErrGone
	}
	return conn, nil
}

// hold returns the anchor, a new one if that of before is broken.
func (r *Route) hold(ctx context.Context) (*guest.Anchor, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.anchor != nil && r.anchor.Holds() {
		return r.anchor, nil
	}
	r.letGo()
	var err error
	switch r.m.Spec.Image {
	case configs.ImageProbe:
		r.anchor, err = guest.AnchorProbe(ctx, r.ns, r.m.CID, r.m.UUID)
	case configs.ImageLinux:
		r.anchor, err = guest.AnchorAgent(ctx, r.ns, r.m.CID, r.key)
	default:
		err = r.connect(ctx)
	}
	return r.anchor, err
}

// ssh returns the SSH connection, which is the anchor as well.
func (r *Route) ssh(ctx context.Context) (*guest.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.anchor == nil || !r.anchor.Holds() {
		r.letGo()
		if err := r.connect(ctx); err != nil {
			return nil, err
		}
	}
	return r.client, nil
}

func (r *Route) connect(ctx context.Context) error {
	c, err := guest.Dial(ctx, r.ns, r.m.CID, r.key)
	if err != nil {
		return err
	}
	r.client, r.anchor = c, guest.AnchorClient(c)
	return nil
}

func (r *Route) letGo() {
	if r.anchor != nil {
		_ = r.anchor.Close() // it is broken, or nobody needs it any more
	}
	r.anchor, r.client = nil, nil
}

// Close gives up what is kept. Connections that were made go on, but for those into a
// guest that is not a built-in one. Closing twice is fine.
func (r *Route) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.letGo()
	if err := r.ns.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
		return err
	}
	return nil
}
