package launcher

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/links"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
)

// bridgeName is that of the bridge that vmlaunch makes, one in a namespace.
const bridgeName = "vmlaunch0"

// bridgeOf returns the bridge that vmlaunch makes in the namespace id.
func bridgeOf(id netns.ID) links.Bridge {
	return links.Bridge{Name: bridgeName, MAC: net.HardwareAddr(macOf("bridge", id.String(), 0))}
}

// macOf returns a MAC of one device, administered locally, that is the same each
// time and another one for each of what it is made of.
func macOf(what, name string, i int) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d", what, name, i))
	mac := sum[:6]
	mac[0] = mac[0]&^1 | 2
	return mac
}

func hash(s string) uint64 {
	sum := sha256.Sum256([]byte(s))
	return binary.BigEndian.Uint64(sum[:8])
}

// A street is what is known of a namespace when a machine in it gets its
// addresses.
type street struct {
	neighbors []store.Machine // the other machines of the namespace
	bridge    netip.Prefix    // the subnet of the bridge that vmlaunch made; zero if there is none yet
	taken     []netip.Prefix  // what else is there
}

// chooseNICs returns the network devices of m: what the spec says, else what it
// had, else what its name leads to and is free. It is a pure function. It fails
// with [fs.ErrExist] if what the spec says is another machine's, or in another
// subnet than theirs.
func chooseNICs(m store.Machine, s street) ([]store.NIC, error) {
	var nics []store.NIC
	for i, n := range m.Spec.Nets() {
		nic := store.NIC{Kind: n.Kind}
		var had store.NIC
		if i < len(m.NICs) && m.NICs[i].Kind == n.Kind {
			had = m.NICs[i]
		}
		nic.MAC = s.chooseMAC(m.Name, n, had, nics)
		if n.Address != "" { // both were found valid
			nic.Address = netip.MustParsePrefix(n.Address)
		}
		if n.Gateway != "" {
			nic.Gateway = netip.MustParseAddr(n.Gateway)
		}
		switch {
		case n.Kind == configs.NetUser, n.Kind == configs.NetPasst:
			nic.Address, nic.Gateway, nic.DNS = outward(i)
		case n.Kind == configs.NetTap:
			nic.Tap = n.Name
		case n.Made():
			address, err := s.chooseAddress(m, nic.Address, had.Address)
			if err != nil {
				return nil, err
			}
			nic.Address, nic.Bridge = address, bridgeName
		default:
			nic.Bridge = n.Name
		}
		nics = append(nics, nic)
	}
	return nics, nil
}

// outward returns what the i-th network of a machine has if it leads outward. The
// first has the numbers of QEMU's user network; others are beside it.
func outward(i int) (address netip.Prefix, gateway, dns netip.Addr) {
	at := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(2 + i), last}) }
	return netip.PrefixFrom(at(15), 24), at(2), at(3)
}

func (s street) chooseMAC(name string, n configs.Network, had store.NIC, mine []store.NIC) string {
	if n.MAC != "" {
		return strings.ToLower(n.MAC)
	}
	used := func(mac string) bool {
		return slices.ContainsFunc(s.neighbors, func(m store.Machine) bool { return hasMAC(m.NICs, mac) }) || hasMAC(mine, mac)
	}
	if had.MAC != "" && !used(had.MAC) {
		return had.MAC
	}
	for i := len(mine); ; i += 100 {
		if mac := net.HardwareAddr(macOf("nic", name, i)).String(); !used(mac) {
			return mac
		}
	}
}

func hasMAC(nics []store.NIC, mac string) bool {
	return slices.ContainsFunc(nics, func(n store.NIC) bool { return n.MAC == mac })
}

// chooseAddress returns the address of m on the bridge that vmlaunch makes.
func (s street) chooseAddress(m store.Machine, said, had netip.Prefix) (netip.Prefix, error) {
	used := map[netip.Addr]string{}
	subnet := s.bridge
	for _, n := range s.neighbors {
		for _, nic := range n.NICs {
			if nic.Bridge == bridgeName && nic.Kind == configs.NetBridge {
				used[nic.Address.Addr()] = n.Name
				if !subnet.IsValid() {
					subnet = nic.Address.Masked()
				}
			}
		}
	}
	switch {
	case !subnet.IsValid() && said.IsValid():
		if i := slices.IndexFunc(s.taken, said.Overlaps); i >= 0 {
			return netip.Prefix{}, fmt.Errorf("address %v of machine %q: subnet %v: %w in the namespace", said, m.Name, s.taken[i], fs.ErrExist)
		}
		subnet = said.Masked()
	case !subnet.IsValid():
		var err error
		if subnet, err = chooseSubnet(m.Netns.Ref, had.Masked(), s.taken); err != nil {
			return netip.Prefix{}, err
		}
	}
	if said.IsValid() {
		switch other := used[said.Addr()]; {
		case said.Masked() != subnet:
			return netip.Prefix{}, fmt.Errorf("address %v of machine %q: the bridge of the namespace has another subnet, %v: %w", said, m.Name, subnet, fs.ErrExist)
		case other != "":
			return netip.Prefix{}, fmt.Errorf("address %v of machine %q: machine %q has it: %w", said, m.Name, other, fs.ErrExist)
		}
		return said, nil
	}
	if had.IsValid() && had.Masked() == subnet && used[had.Addr()] == "" {
		return had, nil
	}
	return freeAddress(m.Name, subnet, used)
}

// chooseSubnet returns the subnet for a namespace that has none: the one that the
// machine had, else one of 10.64.0.0/10 that the namespace's name leads to.
func chooseSubnet(ref string, had netip.Prefix, taken []netip.Prefix) (netip.Prefix, error) {
	free := func(p netip.Prefix) bool { return !slices.ContainsFunc(taken, p.Overlaps) }
	if had.IsValid() && free(had) {
		return had, nil
	}
	const subnets = 64 << 8
	for i := range uint64(subnets) {
		n := (hash(ref) + i) % subnets
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 64 + byte(n>>8), byte(n), 0}), 24)
		if free(p) {
			return p, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("subnet for the bridge in %s: all of 10.64.0.0/10 is in use: %w (--net bridge,address=IP/BITS)", netnsTitle(ref), fs.ErrExist)
}

// freeAddress returns an address of subnet: the one that name leads to, or the next
// that is free. The first is the bridge's.
func freeAddress(name string, subnet netip.Prefix, used map[netip.Addr]string) (netip.Prefix, error) {
	base := subnet.Addr().As4()
	first := binary.BigEndian.Uint32(base[:])
	count := uint64(1)<<(32-subnet.Bits()) - 3 // the network's own, the bridge's, and broadcast
	for i := range count {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], first+2+uint32((hash(name)+i)%count))
		if a := netip.AddrFrom4(b); used[a] == "" {
			return netip.PrefixFrom(a, subnet.Bits()), nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("address for machine %q: all of subnet %v are in use: %w", name, subnet, fs.ErrExist)
}
