package launcher

import (
	"fmt"
	"net/netip"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/internal/agentconfig"
	"github.com/vmlaunch/vmlaunch/store"
)

// A NIC is a network device as QEMU has it.
type NIC struct {
	Kind    string
	MAC     string
	Subnet  netip.Prefix // of a user network
	FD      int          // a tap, or a socket whose other end passt has
	VhostFD int          // an open /dev/vhost-net for a tap; 0 for none
}

// nicDevice is a virtio-net-pci device; see hw/net/virtio-net.c in QEMU's source.
type nicDevice struct {
	Driver string `json:"driver"`
	ID     string `json:"id"`
	Netdev string `json:"netdev"`
	MAC    string `json:"mac"`
	// ROM is empty: a machine is not booted from its network, and distributions
	// have the file for it in a package of its own.
	ROM string `json:"romfile"`
}

// nicArgs returns the arguments for network devices. -netdev takes JSON since
// QEMU 7.2 only; there is nothing to be escaped in what it is given here.
func nicArgs(nics []NIC) []string {
	var args []string
	for i, n := range nics {
		id := fmt.Sprintf("net%d", i)
		args = append(args,
			"-netdev", n.netdev(id),
			"-device", string(text(nicDevice{Driver: "virtio-net-pci", ID: "nic" + id[3:], Netdev: id, MAC: n.MAC})))
	}
	return args
}

func (n NIC) netdev(id string) string {
	switch n.Kind {
	case configs.NetUser:
		return fmt.Sprintf("user,id=%s,net=%v,ipv6=off", id, n.Subnet)
	case configs.NetPasst: // the stream of passt, which newer QEMUs call so
		return fmt.Sprintf("socket,id=%s,fd=%d", id, n.FD)
	}
	dev := fmt.Sprintf("tap,id=%s,fd=%d", id, n.FD)
	if n.VhostFD != 0 {
		dev += fmt.Sprintf(",vhost=on,vhostfd=%d", n.VhostFD)
	}
	return dev
}

// nicModules returns the kernel modules that a guest needs for its networks.
func nicModules(spec configs.Machine) []string {
	if len(spec.Nets()) == 0 {
		return nil
	}
	return []string{"virtio_net"}
}

// guestNetworks returns what the agent is told about the devices that the host
// knows an address for.
func guestNetworks(nics []store.NIC) []agentconfig.Network {
	var all []agentconfig.Network
	for _, n := range nics {
		if n.Address.IsValid() {
			all = append(all, agentconfig.Network{MAC: n.MAC, Address: n.Address, Gateway: n.Gateway, DNS: n.DNS})
		}
	}
	return all
}
