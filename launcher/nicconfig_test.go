package launcher

import (
	"maps"
	"slices"
	"testing"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/guest"
)

// TestNetworkConfig tells a stock guest of a bridge, and leaves others to it.
func TestNetworkConfig(t *testing.T) {
	m, err := onStreet(t, "a", street{}, "bridge,mac=02:00:00:00:00:01,address=10.9.0.5/24,gateway=10.9.0.1", "user,mac=02:00:00:00:00:02")
	if err != nil {
		t.Fatal(err)
	}
	m.Spec.Image = "/disk.qcow2"
	const unit = "[Match]\nMACAddress=02:00:00:00:00:01\n[Network]\nAddress=10.9.0.5/24\nGateway=10.9.0.1\n"
	if got := networkUnits(m.NICs); len(got) != 1 || got["network.network.50-vmlaunch0"] != unit {
		t.Errorf("units: %q", got)
	}
	const seed = `{"ethernets":{"net0":{"addresses":["10.9.0.5/24"],"dhcp4":false,"match":{"macaddress":"02:00:00:00:00:01"},"routes":[{"to":"0.0.0.0/0","via":"10.9.0.1"}]},"net1":{"dhcp4":true,"match":{"macaddress":"02:00:00:00:00:02"}}},"version":2}` + "\n"
	if got := string(networkConfig(m.NICs)); got != seed {
		t.Errorf("seed: %s", got)
	}
	if got := networkConfig(m.NICs[1:]); got != nil {
		t.Errorf("only a network with DHCP: %s, want nothing", got)
	}
	own := map[string]string{"network.network.50-vmlaunch0": "my own"}
	if got := credentials(m, own, guest.Keys{}); got["network.network.50-vmlaunch0"] != "my own" {
		t.Errorf("the user's own is overwritten: %q", slices.Sorted(maps.Keys(got)))
	}
	m.Spec.Image = configs.ImageLinux
	if got := credentials(m, nil, guest.Keys{}); len(got) != 0 {
		t.Errorf("the built-in guest has the agent: %q", got)
	}
}
