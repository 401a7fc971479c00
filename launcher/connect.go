package launcher

import (
	"context"
	"fmt"
	"net"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/forward"
	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/store"
)

// Client opens an SSH connection into the guest of the machine called name,
// from inside its namespace. Whoever answers has to prove that it is this
// machine, by the host key that was made for it. The caller closes the client.
// It fails with [fs.ErrNotExist], with a [*PhaseError] if the machine is down, with
// [errors.ErrUnsupported] for a guest without SSH, with a [*StrangerError], and as
// guest.Dial does.
func (l *Launcher) Client(ctx context.Context, name string) (*guest.Client, error) {
	m, err := l.running(ctx, name)
	if err != nil {
		return nil, err
	}
	c, err := l.dialClient(ctx, m)
	if err != nil {
		return nil, l.connectError(ctx, m, err)
	}
	return c, nil
}

func (l *Launcher) dialClient(ctx context.Context, m store.Machine) (*guest.Client, error) {
	if err := checkSSH(m.Spec); err != nil {
		return nil, err
	}
	keys, err := l.folder(m.Name).readKeys()
	if err != nil {
		return nil, err
	}
	host, err := guest.ParsePublic(keys.HostPub)
	if err != nil {
		return nil, err
	}
	ns, err := enter(m)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	return guest.Dial(ctx, ns, m.CID, guest.Key{User: m.Spec.Login(), Private: keys.Client, Host: host})
}

// Probe opens the control connection of the probe guest called name, from
// inside its namespace, and checks that it is this one. The caller closes it.
// It fails with [fs.ErrNotExist], with a [*PhaseError] if the machine is down, with
// [errors.ErrUnsupported] for another guest, with a [*StrangerError], and as
// guest.DialProbe does.
func (l *Launcher) Probe(ctx context.Context, name string) (*guest.Probe, error) {
	m, err := l.running(ctx, name)
	if err != nil {
		return nil, err
	}
	p, err := l.dialProbe(ctx, m)
	if err != nil {
		return nil, l.connectError(ctx, m, err)
	}
	return p, nil
}

func (l *Launcher) dialProbe(ctx context.Context, m store.Machine) (*guest.Probe, error) {
	if m.Spec.Guest() != configs.GuestProbe {
		return nil, &MissingError{What: "control port in a " + string(m.Spec.Guest()) + " guest", Need: "talk to it as to a probe"}
	}
	ns, err := enter(m)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	return guest.DialProbe(ctx, ns, m.CID, m.UUID)
}

// Dial connects to a vsock port of the machine called name, from inside its
// namespace, once its guest has proved who it is. The caller closes the connection.
// It fails with [fs.ErrNotExist], and as [Launcher.Route] and [Route.Dial] do.
func (l *Launcher) Dial(ctx context.Context, name string, port uint32) (forward.Conn, error) {
	r, err := l.Route(ctx, name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return r.Dial(ctx, configs.Endpoint{Network: configs.NetworkVsock, Port: port})
}

// Console connects to the serial console of the machine called name. QEMU
// serves one client at a time; a second one waits for its turn and sees nothing
// until then. What was printed before is in the log. The caller closes the
// connection. It fails with [fs.ErrNotExist] and with a [*PhaseError] if the machine
// is down.
func (l *Launcher) Console(ctx context.Context, name string) (net.Conn, error) {
	if _, err := l.running(ctx, name); err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", l.folder(name).console())
	if err != nil {
		return nil, fmt.Errorf("connect to console of machine %q: %w", name, err)
	}
	return conn, nil
}
