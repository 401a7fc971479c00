package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/forward"
	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// routeTime bounds one connection through a [Route], from the first packet to the
// answer of what is to be reached. A guest in a nest with a thousand connections
// at once needs tens of seconds.
const routeTime = 2 * time.Minute

// dialsAtOnce bounds how many connections to vsock ports are being begun by one route. The
// kernel gives each 2 s to be answered, in which a small guest answers dozens, not a
// thousand.
const dialsAtOnce = 32

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
	dials chan struct{} // one for each connection that is being begun

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
	r := &Route{l: l, m: m, ns: ns, alive: alive, dials: make(chan struct{}, dialsAtOnce)}
	if m.Spec.Guest() == configs.GuestProbe {
		return r, nil
	}
	keys, err := l.folder(m.Name).readKeys()
	if err == nil {
		r.key.User, r.key.Private = m.Spec.Login(), keys.Client
		r.key.Host, err = guest.ParsePublic(keys.HostPub)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("machine %q: %w", m.Name, err), ns.Close())
	}
	return r, nil
}

// Wait returns nil when the machine's QEMU has ended, or ctx's error.
func (r *Route) Wait(ctx context.Context) error { return r.m.QEMU.Wait(ctx) }

// Check has the guest prove who it is, if it can. It fails as [Route.Dial] does.
func (r *Route) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, routeTime)
	defer cancel()
	if _, _, err := r.hold(ctx); err != nil && !r.mute(err) {
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
	conn, _, err := r.reach(ctx, target)
	return conn, err
}

// reach is Dial that also returns the anchor.
func (r *Route) reach(ctx context.Context, target configs.Endpoint) (forward.Conn, *guest.Anchor, error) {
	if !r.alive() {
		return nil, nil, &PhaseError{Name: r.m.Name, Have: Stopped, Want: "running", Hint: "vmlaunch start " + r.m.Name}
	}
	ctx, cancel := context.WithTimeout(ctx, routeTime)
	defer cancel()
	conn, anchor, err := r.dial(ctx, target)
	if err != nil {
		return nil, nil, r.l.connectError(ctx, r.m, err)
	}
	return conn, anchor, nil
}

// dial connects to target while the anchor holds: who answers has proved who it is,
// and the QEMU that has the CID is the one that it had then. The anchor is kept, not the
// caller's to close.
func (r *Route) dial(ctx context.Context, target configs.Endpoint) (forward.Conn, *guest.Anchor, error) {
	anchor, client, err := r.hold(ctx)
	if err != nil && !(target.Network == configs.NetworkVsock && r.mute(err)) {
		return nil, nil, err
	}
	conn, err := r.dialGuest(ctx, client, target)
	if err != nil {
		return nil, nil, err
	}
	if !r.alive() || !anchor.Holds() {
		forward.Reset(conn)
		return nil, nil, guest.ErrGone
	}
	return conn, anchor, nil
}

// mute reports whether a guest has nothing by which to prove who it is: a disk image
// without SSH on vsock. Then it is the QEMU alone, which has the CID, that is known.
func (r *Route) mute(err error) bool {
	return r.m.Spec.Guest() == configs.GuestDisk && errors.Is(err, syscall.ECONNRESET)
}

// dialGuest connects to target in the way that leads into this guest; client is nil
// where that is not SSH.
func (r *Route) dialGuest(ctx context.Context, client *guest.Client, target configs.Endpoint) (forward.Conn, error) {
	if target.Network == configs.NetworkVsock {
		raw, err := r.dialPort(ctx, target.Port)
		if err != nil {
			return nil, err
		}
		conn, ok := raw.(forward.Conn)
		if !ok { // package vsock promises it
			return nil, errors.Join(fmt.Errorf("a %T can't end one direction", raw), raw.Close())
		}
		return conn, nil
	}
	address := target.Path
	if target.Network == configs.NetworkTCP {
		address = target.HostPort()
	}
	switch {
	case r.m.Spec.Guest() == configs.GuestProbe:
		return nil, &MissingError{What: target.Network + " in a probe guest", Hint: "vsock:PORT is there"}
	case client != nil:
		return client.Connect(ctx, target.Network, address)
	}
	var leg *forward.Leg
	err := insist(ctx, func() (err error) {
		leg, err = guest.Tunnel(ctx, r.ns, r.m.CID, r.key, target.Network, address)
		return err
	})
	if err != nil {
		return nil, err // not a nil *Leg in an interface
	}
	return leg, nil
}

// A guest resets a connection that finds no room to wait for being accepted, just as
// one to a port where nobody listens. So it is begun again, after pauses that double:
// 0.6 s in all, which whoever calls a closed port has to wait.
const (
	portTries = 6
	portPause = 20 * time.Millisecond
)

// insist calls try again after a reset, as above, and, until ctx ends, after it was not
// answered: a guest may be busy with a thousand others.
func insist(ctx context.Context, try func() error) error {
	pause := portPause
	for tries := 1; ; {
		err := try()
		dial, ok := errors.AsType[*vsock.DialError](err)
		switch {
		case !ok || ctx.Err() != nil:
			return err
		case dial.Timeout():
			continue
		case dial.Errno != syscall.ECONNRESET || tries == portTries:
			return err
		}
		tries++
		select {
		case <-time.After(pause):
			pause *= 2
		case <-ctx.Done():
			return err
		}
	}
}

// dialPort connects to a vsock port.
func (r *Route) dialPort(ctx context.Context, port uint32) (conn net.Conn, err error) {
	select {
	case r.dials <- struct{}{}:
		defer func() { <-r.dials }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	err = insist(ctx, func() (err error) {
		conn, err = guest.DialPort(ctx, r.ns, r.m.CID, port)
		return err
	})
	return conn, err
}

// handler returns what passes a connection on to target. It is reset when the guest is
// another one than it began with: one that has restarted.
func (r *Route) handler(relay *forward.Relay, target configs.Endpoint) func(context.Context, forward.Conn) error {
	return func(ctx context.Context, client forward.Conn) error {
		there, anchor, err := r.reach(ctx, target)
		if err != nil {
			forward.Reset(client)
			return err
		}
		ctx, cancel := context.WithCancel(ctx)
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			select {
			case <-anchor.Broken():
				cancel()
			case <-ctx.Done():
			}
		}()
		_ = relay.Join(ctx, client, there) // both sides were told
		cancel()
		<-watched
		return nil
	}
}

// hold returns the anchor, a new one if that of before is broken, and the SSH
// connection where that is the anchor.
func (r *Route) hold(ctx context.Context) (*guest.Anchor, *guest.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.anchor != nil && r.anchor.Holds() {
		return r.anchor, r.client, nil
	}
	r.letGo()
	var err error
	switch r.m.Spec.Guest() {
	case configs.GuestProbe:
		r.anchor, err = guest.AnchorProbe(ctx, r.ns, r.m.CID, r.m.UUID)
	case configs.GuestLinux:
		r.anchor, err = guest.AnchorAgent(ctx, r.ns, r.m.CID, r.key)
	default:
		err = r.connect(ctx)
	}
	return r.anchor, r.client, err
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
