package links

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Bridge is one that vmlaunch makes. It is known by name and MAC together: the
// kernel gives it both in one step, so at no moment is there one of ours that
// could be a stranger's, or the other way round.
type Bridge struct {
	Name string
	MAC  net.HardwareAddr
}

// Make makes the bridge, unless it is there, gives it the address, and brings it
// up. It fails with [fs.ErrExist] if another interface has the name, with
// [fs.ErrPermission], and with [errors.ErrUnsupported] on a kernel without
// bridges. What it has made until then stays, for [Bridge.Remove].
func (b Bridge) Make(address netip.Prefix) error {
	if err := b.make(address); err != nil {
		return fmt.Errorf("make bridge %q: %w", b.Name, err)
	}
	return nil
}

func (b Bridge) make(address netip.Prefix) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = b.Name, b.MAC
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, unix.EEXIST) {
		return meaning(err)
	}
	link, err := find(b.Name)
	if err != nil {
		return err
	}
	if !b.is(link) {
		return fmt.Errorf("%w: an interface of that name, which vmlaunch did not make", fs.ErrExist)
	}
	ip := &net.IPNet{IP: address.Addr().AsSlice(), Mask: net.CIDRMask(address.Bits(), address.Addr().BitLen())}
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ip}); err != nil {
		return fmt.Errorf("give it %v: %w", address, meaning(err))
	}
	return meaning(netlink.LinkSetUp(link))
}

func (b Bridge) is(link netlink.Link) bool {
	return link.Type() == "bridge" && bytes.Equal(link.Attrs().HardwareAddr, b.MAC)
}

// Subnet returns the IPv4 subnet of the bridge. It fails with [fs.ErrNotExist] if
// the bridge is not there or has none.
func (b Bridge) Subnet() (netip.Prefix, error) {
	link, err := find(b.Name)
	if err != nil {
		return netip.Prefix{}, err
	}
	addresses, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("addresses of bridge %q: %w", b.Name, meaning(err))
	}
	for _, a := range addresses {
		if p, ok := prefix(a.IPNet); ok && b.is(link) {
			return p.Masked(), nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("subnet of bridge %q: %w", b.Name, fs.ErrNotExist)
}

// Remove removes the bridge; none is fine. One that something hangs on stays, and so
// does an interface of that name that is not the bridge. It fails with
// [fs.ErrPermission].
func (b Bridge) Remove() error {
	if err := b.remove(); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove bridge %q: %w", b.Name, err)
	}
	return nil
}

func (b Bridge) remove() error {
	link, err := find(b.Name)
	if err != nil || !b.is(link) {
		return err
	}
	all, err := netlink.LinkList()
	if err != nil {
		return meaning(err)
	}
	for _, port := range all {
		if port.Attrs().MasterIndex == link.Attrs().Index {
			return nil
		}
	}
	return meaning(netlink.LinkDel(link))
}
