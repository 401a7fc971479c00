package launcher

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/store"
)

// static reports whether n has an address that nobody tells the guest on the
// network itself: user networks and passt answer DHCP.
func static(n store.NIC) bool {
	return n.Address.IsValid() && n.Kind != configs.NetUser && n.Kind != configs.NetPasst
}

// networkUnits returns, by the name of the credential, what systemd-networkd of a
// guest is told of its devices; since systemd 256, see systemd.system-credentials(7).
// Devices that find their addresses themselves are left to the guest.
func networkUnits(nics []store.NIC) map[string]string {
	units := map[string]string{}
	for i, n := range nics {
		if !static(n) {
			continue
		}
		var b strings.Builder
		fmt.Fprintf(&b, "[Match]\nMACAddress=%s\n[Network]\nAddress=%v\n", n.MAC, n.Address)
		if n.Gateway.IsValid() {
			fmt.Fprintf(&b, "Gateway=%v\n", n.Gateway)
		}
		units[fmt.Sprintf("network.network.50-vmlaunch%d", i)] = b.String()
	}
	return units
}

// networkConfig returns the same for cloud-init, whose networks are configured all
// or not at all; nil where they configure themselves. It is version 2 of its network
// configuration, which is YAML, and so JSON will do.
func networkConfig(nics []store.NIC) []byte {
	if !slices.ContainsFunc(nics, static) {
		return nil
	}
	devices := map[string]any{}
	for i, n := range nics {
		d := map[string]any{"match": map[string]string{"macaddress": n.MAC}, "dhcp4": !static(n)}
		if static(n) {
			d["addresses"] = []string{n.Address.String()}
		}
		if static(n) && n.Gateway.IsValid() {
			d["routes"] = []any{map[string]string{"to": "0.0.0.0/0", "via": n.Gateway.String()}}
		}
		devices[fmt.Sprintf("net%d", i)] = d
	}
	return append(text(map[string]any{"version": 2, "ethernets": devices}), '\n')
}
