package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/links"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
)

// nets are what this host has for the networks of a machine, and what QEMU
// inherits for them, in the order of the spec.
type nets struct {
	passt string // path of the program
	fds   []netFDs
}

// netFDs are the descriptors of one device; 0 for none.
type netFDs struct{ link, vhost int }

// wants reports whether spec has a network of that kind.
func wants(spec configs.Machine, kind string) bool {
	return slices.ContainsFunc(spec.Nets(), func(n configs.Network) bool { return n.Kind == kind })
}

// resolveNets looks up what the networks of spec need. It fails with a
// [*MissingError].
func resolveNets(spec configs.Machine) (h nets, err error) {
	h.fds = make([]netFDs, len(spec.Nets()))
	if wants(spec, configs.NetPasst) {
		h.passt, err = findPasst()
	}
	return h, err
}

// planNICs returns the network devices for QEMU. It is a pure function. Before a
// launch has chosen them they are what a machine alone in its namespace would have.
func planNICs(m store.Machine, h nets) []NIC {
	chosen := m.NICs
	if len(chosen) != len(m.Spec.Nets()) {
		chosen, _ = chooseNICs(m, street{}) // what is wrong shows at the launch
	}
	var nics []NIC
	for i, c := range chosen {
		n := NIC{Kind: c.Kind, MAC: c.MAC, Subnet: c.Address.Masked()}
		if i < len(h.fds) {
			n.FD, n.VhostFD = h.fds[i].link, h.fds[i].vhost
		}
		nics = append(nics, n)
	}
	return nics
}

// makeNetworks gives the machine its addresses, makes the bridge of its namespace
// if it is to be on that, and opens its taps. The addresses, and with them the
// wish for the bridge, are recorded before there is a bridge.
func (a *attempt) makeNetworks(ctx context.Context) error {
	wanted := a.rec.Spec.Nets()
	if len(wanted) == 0 && len(a.rec.NICs) == 0 {
		return nil
	}
	if slices.ContainsFunc(wanted, func(n configs.Network) bool { return n.Made() && !n.Host }) && a.ns.Ref() == "" {
		return &HostBridgeError{Name: a.rec.Name}
	}
	if err := a.recordNICs(ctx); err != nil {
		return fmt.Errorf("make networks of machine %q: %w", a.rec.Name, err)
	}
	if err := a.makeBridge(ctx); err != nil {
		return fmt.Errorf("make networks of machine %q: %w", a.rec.Name, err)
	}
	// A tap that is open would keep the bridge.
	a.back.Push("taps", func(context.Context) error { a.closePassed(); return nil })
	for i, n := range a.rec.NICs {
		if n.Kind != configs.NetBridge && n.Kind != configs.NetTap {
			continue
		}
		err := a.openTap(i)
		if errors.Is(err, links.ErrNoBridge) || errors.Is(err, links.ErrNoTap) {
			return configs.Errors{{Field: "net", Value: wanted[i].String(), Problem: err.Error()}}
		}
		if err != nil {
			return fmt.Errorf("make network %q of machine %q: %w", wanted[i], a.rec.Name, err)
		}
	}
	return nil
}

// recordNICs chooses the machine's addresses, in the transaction that records them.
func (a *attempt) recordNICs(ctx context.Context) error {
	var s street
	bridge := bridgeOf(a.ns.ID())
	err := a.ns.Do(func() (err error) {
		if s.bridge, err = bridge.Subnet(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		s.taken, err = links.Subnets()
		return err
	})
	if err != nil {
		return err
	}
	return a.l.Store.Update(ctx, func(tx *store.Tx) error {
		all, err := tx.Machines()
		if err != nil {
			return err
		}
		// Also those of an earlier namespace of that name: they will come up in this one.
		s.neighbors = slices.DeleteFunc(all, func(m store.Machine) bool {
			return m.Name == a.rec.Name || m.Netns.ID != a.rec.Netns.ID && m.Netns.Ref != a.rec.Netns.Ref
		})
		m, err := tx.Machine(a.rec.Name)
		if err != nil {
			return err
		}
		if m.NICs, err = chooseNICs(m, s); err != nil {
			return err
		}
		a.rec.NICs = m.NICs
		return tx.PutMachine(m)
	})
}

// made returns the address of m on the bridge that vmlaunch makes, the zero one if
// it is on none.
func made(m store.Machine) netip.Prefix {
	for i, n := range m.Spec.Nets() {
		if n.Made() && i < len(m.NICs) {
			return m.NICs[i].Address
		}
	}
	return netip.Prefix{}
}

// makeBridge makes the bridge of the namespace, if the machine is on it.
func (a *attempt) makeBridge(ctx context.Context) error {
	address := made(a.rec)
	if !address.IsValid() {
		return nil
	}
	k, err := a.l.lockBridge(ctx, a.ns.ID())
	if err != nil {
		return err
	}
	defer k.release()
	if a.before.Netns.ID != a.ns.ID() { // else the machine keeps it while it is down
		a.back.Push("bridge", func(ctx context.Context) error { return a.l.dropBridge(ctx, a.rec) })
	}
	own := netip.PrefixFrom(address.Masked().Addr().Next(), address.Bits())
	return a.ns.Do(func() error { return bridgeOf(a.ns.ID()).Make(own) })
}

// lockBridge keeps the bridge of the namespace id from being removed while it is
// made, and the other way round.
func (l *Launcher) lockBridge(ctx context.Context, id netns.ID) (*lock, error) {
	return waitLock(ctx, l.lockPath("bridge", fmt.Sprint(id.Cookie)), fmt.Sprintf("bridge %q", bridgeName), unix.LOCK_EX)
}

// dropBridge removes the bridge that m is on, unless another machine of the
// namespace is on it too. None is fine, and a bridge that goes with its namespace.
func (l *Launcher) dropBridge(ctx context.Context, m store.Machine) error {
	if m.Netns.ID.IsZero() || !slices.ContainsFunc(m.Spec.Nets(), configs.Network.Made) {
		return nil
	}
	ns, err := enter(m)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer ns.Close()
	k, err := l.lockBridge(ctx, ns.ID())
	if err != nil {
		return err
	}
	defer k.release()
	shared := false
	err = l.Store.View(ctx, func(tx *store.Tx) error {
		all, err := tx.Machines()
		shared = slices.ContainsFunc(all, func(o store.Machine) bool {
			return o.Name != m.Name && o.Netns.ID == ns.ID() && made(o).IsValid()
		})
		return err
	})
	if err != nil || shared {
		return err
	}
	return ns.Do(bridgeOf(ns.ID()).Remove)
}

// openTap opens the tap of the i-th network, in the machine's namespace, for QEMU.
// A tap that we made is gone with the last descriptor of it.
func (a *attempt) openTap(i int) error {
	nic := &a.rec.NICs[i]
	var tap *os.File
	err := a.ns.Do(func() (err error) {
		if nic.Kind == configs.NetTap {
			tap, err = links.OpenTap(nic.Tap)
			return err
		}
		tap, nic.Tap, err = links.CreateTap(nic.Bridge)
		return err
	})
	if err != nil {
		return err
	}
	a.host.nets.fds[i].link = a.pass(tap)
	vhost, err := links.OpenVhost()
	if err != nil { // QEMU itself carries the packets then
		a.l.Log.Info("no vhost-net", "machine", a.rec.Name, "err", err)
		return nil
	}
	a.host.nets.fds[i].vhost = a.pass(vhost)
	return nil
}

// A HostBridgeError says that a bridge would be made in the host's own namespace,
// which nobody has asked for.
type HostBridgeError struct{ Name string }

func (e *HostBridgeError) Error() string {
	return fmt.Sprintf("make networks of machine %q: a bridge in the host's own namespace is only made when told so (--net bridge,host, or --netns NAME)", e.Name)
}

// Is makes it one of the things that may not be done, [fs.ErrPermission].
func (e *HostBridgeError) Is(target error) bool { return target == fs.ErrPermission }
