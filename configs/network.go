package configs

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"unicode"
)

// The kinds of network, as values of [Network.Kind].
const (
	NetNone   = "none"   // no network at all
	NetUser   = "user"   // QEMU's own, out of the machine's namespace
	NetPasst  = "passt"  // by passt, out of the namespace vmlaunch was called in
	NetBridge = "bridge" // a bridge in the machine's namespace
	NetTap    = "tap"    // an existing tap in the machine's namespace
)

const (
	maxNetworks = 8
	maxLinkName = 15 // IFNAMSIZ of linux/if.h with the NUL
)

// A Network is a network device of a machine and what it hangs on.
type Network struct {
	Kind string `json:"kind" yaml:"kind"`
	// Name is that of an existing bridge or tap, never removed by vmlaunch. A bridge
	// without is one that vmlaunch makes, for all machines in the namespace.
	Name    string `json:"name,omitempty" yaml:"name,omitempty"`
	MAC     string `json:"mac,omitempty" yaml:"mac,omitempty"`         // "" lets vmlaunch choose
	Address string `json:"address,omitempty" yaml:"address,omitempty"` // IPv4 with its prefix, for the guest; "" lets vmlaunch choose on a bridge that it makes
	Gateway string `json:"gateway,omitempty" yaml:"gateway,omitempty"` // of the guest's default route
	Host    bool   `json:"host,omitempty" yaml:"host,omitempty"`       // the bridge may be made in the host's own namespace
}

// netForm is what to write, for errors.
const netForm = "want none, user, passt, bridge, bridge=NAME or tap=NAME, and after it ,mac=MAC ,address=IP/BITS ,gateway=IP ,host"

// ParseNetwork reads KIND[=NAME][,OPTION…]. It returns a [*FieldError] for what
// has not that form; the rest is for [Machine.Validate].
func ParseNetwork(text string) (Network, error) {
	what, options, more := strings.Cut(text, ",")
	var n Network
	kind, name, named := strings.Cut(what, "=")
	n.Kind, n.Name = kind, name
	if kind == "" || named && name == "" {
		return Network{}, &FieldError{"net", text, netForm}
	}
	if !more {
		return n, nil
	}
	for option := range strings.SplitSeq(options, ",") {
		key, value, has := strings.Cut(option, "=")
		field := map[string]*string{"mac": &n.MAC, "address": &n.Address, "gateway": &n.Gateway}[key]
		switch {
		case key == "host" && !has:
			n.Host = true
		case field == nil || value == "":
			return Network{}, &FieldError{"net", text, netForm}
		case *field != "":
			return Network{}, &FieldError{"net", text, key + " is there twice"}
		default:
			*field = value
		}
	}
	return n, nil
}

// String returns n in the form that [ParseNetwork] reads.
func (n Network) String() string {
	s := n.Kind
	if n.Name != "" {
		s += "=" + n.Name
	}
	for _, o := range []struct{ key, value string }{{"mac", n.MAC}, {"address", n.Address}, {"gateway", n.Gateway}} {
		if o.value != "" {
			s += "," + o.key + "=" + o.value
		}
	}
	if n.Host {
		s += ",host"
	}
	return s
}

// Made reports whether n is a bridge that vmlaunch makes and removes.
func (n Network) Made() bool { return n.Kind == NetBridge && n.Name == "" }

// Nets returns the networks that m has devices on.
func (m Machine) Nets() []Network {
	if len(m.Networks) == 1 && m.Networks[0].Kind == NetNone {
		return nil
	}
	return m.Networks
}

// defaultNetworks gives a disk guest the network that systems expect; the
// built-in guests are reached over vsock and need none.
func (m *Machine) defaultNetworks() {
	if len(m.Networks) == 0 && m.Guest() == GuestDisk {
		m.Networks = []Network{{Kind: NetUser}}
	}
}

// validateNetworks adds the mistakes in the machine's networks to errs.
func (m Machine) validateNetworks(errs *Errors) {
	if len(m.Networks) > maxNetworks {
		errs.add("net", fmt.Sprint(len(m.Networks)), fmt.Sprintf("want at most %d", maxNetworks))
	}
	seen := map[string]bool{}
	once := func(n Network, what string) {
		if what != "" && seen[what] {
			errs.add("net", n.String(), fmt.Sprintf("%s is there twice", what))
		}
		seen[what] = true
	}
	for _, n := range m.Networks {
		errs.check("net", n.String(), n.validate())
		if n.Kind == NetNone && len(m.Networks) > 1 {
			errs.add("net", n.String(), "excludes all others")
		}
		if n.Made() || n.Kind == NetTap {
			once(n, strings.TrimSuffix(n.Kind+" "+n.Name, " "))
		}
		once(n, strings.ToLower(n.MAC))
	}
}

func (n Network) validate() error {
	switch n.Kind {
	case NetNone, NetUser, NetPasst, NetBridge, NetTap:
	default:
		return errors.New(netForm)
	}
	outward := n.Kind == NetUser || n.Kind == NetPasst
	switch {
	case n.Kind == NetTap && n.Name == "":
		return errors.New("want tap=NAME")
	case n.Name != "" && n.Kind != NetTap && n.Kind != NetBridge:
		return fmt.Errorf("%s has no name", n.Kind)
	case n.Name != "" && !validLink(n.Name):
		return fmt.Errorf("want a name of 1 to %d bytes without / : , and blanks", maxLinkName)
	case n.Kind == NetNone && n != Network{Kind: NetNone}:
		return errors.New("none has no options")
	case n.Host && !n.Made():
		return errors.New("host is for a bridge that vmlaunch makes")
	case outward && (n.Address != "" || n.Gateway != ""):
		return fmt.Errorf("%s gives the guest its address", n.Kind)
	case n.Gateway != "" && n.Address == "" && !n.Made():
		return errors.New("a gateway wants an address")
	}
	return errors.Join(validMAC(n.MAC), n.validAddress())
}

// validLink holds name to what the kernel takes (dev_valid_name), and to what can
// be written in a list.
func validLink(name string) bool {
	return len(name) <= maxLinkName && name != "." && name != ".." && !strings.ContainsAny(name, "/:,%\x00") &&
		strings.IndexFunc(name, unicode.IsSpace) < 0
}

func validMAC(text string) error {
	if text == "" {
		return nil
	}
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != 6 || mac[0]&1 != 0 {
		return fmt.Errorf("mac %q: want one of a single device, such as 02:00:00:00:00:01", text)
	}
	return nil
}

func (n Network) validAddress() error {
	var subnet netip.Prefix
	if n.Address != "" {
		p, err := netip.ParsePrefix(n.Address)
		if err != nil || !p.Addr().Is4() || p.Bits() < 8 || p.Bits() > 30 || p.Addr() == p.Masked().Addr() {
			return fmt.Errorf("address %q: want one of IPv4 with 8 to 30 bits of prefix, such as 10.9.0.5/24", n.Address)
		}
		if first := p.Masked().Addr().Next(); n.Made() && p.Addr() == first {
			return fmt.Errorf("address %q: %v is the bridge's own", n.Address, first)
		}
		subnet = p.Masked()
	}
	if n.Gateway == "" {
		return nil
	}
	g, err := netip.ParseAddr(n.Gateway)
	if err != nil || !g.Is4() || subnet.IsValid() && !subnet.Contains(g) {
		return fmt.Errorf("gateway %q: want an IPv4 address of the same subnet", n.Gateway)
	}
	return nil
}
