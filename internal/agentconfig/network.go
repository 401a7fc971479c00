package agentconfig

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// A Network is a network device of the guest and what the agent gives it.
type Network struct {
	MAC     string       `json:"mac"`              // by which the device is found
	Address netip.Prefix `json:"address"`          // IPv4
	Gateway netip.Addr   `json:"gateway,omitzero"` // of the default route, where there is one
	DNS     netip.Addr   `json:"dns,omitzero"`
}

func (n Network) validate() error {
	switch mac, err := net.ParseMAC(n.MAC); {
	case err != nil || len(mac) != 6:
		return errors.New("want a MAC of six bytes")
	case !n.Address.IsValid() || !n.Address.Addr().Is4():
		return fmt.Errorf("address %v: want one of IPv4", n.Address)
	}
	for _, a := range []netip.Addr{n.Gateway, n.DNS} {
		if a.IsValid() && !a.Is4() {
			return fmt.Errorf("%v: want an IPv4 address", a)
		}
	}
	return nil
}
