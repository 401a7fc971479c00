// Package links makes and opens what machines' network devices hang on: bridges
// and taps. It acts in the network namespace of the calling thread, so its
// functions are called inside netns.Do, and none of them keeps a socket: one that
// was made in another namespace would speak of that one.
package links

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// find returns the interface called name. It fails with [fs.ErrNotExist].
func find(name string) (netlink.Link, error) {
	link, err := netlink.LinkByName(name)
	if _, none := errors.AsType[netlink.LinkNotFoundError](err); none {
		return nil, fmt.Errorf("interface %q: %w", name, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("interface %q: %w", name, meaning(err))
	}
	return link, nil
}

// meaning gives the kernel's answer its kind and a way out.
func meaning(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (want root, or CAP_NET_ADMIN in the namespace)", err)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("this kernel has no such thing: %w", errors.ErrUnsupported)
	case errors.Is(err, unix.EEXIST):
		return fs.ErrExist
	}
	return err
}

// Subnets returns the IPv4 subnets that interfaces of the namespace are in, and
// those that routes lead to, the default route aside. It is what a new subnet
// must not touch. It fails if the kernel can't be asked.
func Subnets() ([]netip.Prefix, error) {
	var all []netip.Prefix
	add := func(n *net.IPNet) {
		if p, ok := prefix(n); ok && p.Bits() > 0 {
			all = append(all, p.Masked())
		}
	}
	addresses, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", meaning(err))
	}
	for _, a := range addresses {
		add(a.IPNet)
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", meaning(err))
	}
	for _, r := range routes {
		add(r.Dst)
	}
	return all, nil
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), bits), ok && addr.Unmap().Is4()
}
