package launcher

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"testing"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/store"
)

// onStreet chooses the network devices of a machine called name.
func onStreet(t *testing.T, name string, s street, said ...string) (store.Machine, error) {
	t.Helper()
	m := store.Machine{Name: name, Netns: store.NetnsRef{Ref: "red"}}
	for _, text := range said {
		n, err := configs.ParseNetwork(text)
		if err != nil {
			t.Fatal(err)
		}
		m.Spec.Networks = append(m.Spec.Networks, n)
	}
	nics, err := chooseNICs(m, s)
	m.NICs = nics
	return m, err
}

// TestChooseNICs fills a small subnet with machines.
func TestChooseNICs(t *testing.T) {
	s := street{}
	seen := map[string]string{}
	first, err := onStreet(t, "m0", s, "bridge,address=10.9.0.2/28")
	if err != nil {
		t.Fatal(err)
	}
	s.neighbors = append(s.neighbors, first)
	for i := 1; i < 13; i++ { // 10.9.0.1 is the bridge's, .15 broadcast
		m, err := onStreet(t, fmt.Sprintf("m%d", i), s, "bridge", "user")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range m.NICs {
			if other := seen[n.MAC]; other != "" {
				t.Errorf("%s and %s have MAC %s", m.Name, other, n.MAC)
			}
			seen[n.MAC] = m.Name
		}
		a := m.NICs[0].Address
		if other := seen[a.String()]; other != "" || a.Masked() != netip.MustParsePrefix("10.9.0.0/28") || a.Addr() == netip.MustParseAddr("10.9.0.1") || a.Addr() == netip.MustParseAddr("10.9.0.15") {
			t.Errorf("%s has %v (%s)", m.Name, a, other)
		}
		seen[a.String()] = m.Name
		again, err := chooseNICs(m, s)
		if err != nil || again[0] != m.NICs[0] || again[1] != m.NICs[1] {
			t.Errorf("%s: %+v, then %+v, %v", m.Name, m.NICs, again, err)
		}
		if u := m.NICs[1]; u.Address.String() != "10.0.3.15/24" || u.Gateway.String() != "10.0.3.2" || u.DNS.String() != "10.0.3.3" {
			t.Errorf("user network as the second: %+v", u)
		}
		s.neighbors = append(s.neighbors, m)
	}
	for said, want := range map[string]string{
		"bridge":                       "all of subnet 10.9.0.0/28 are in use",
		"bridge,address=10.9.0.2/28":   `machine "m0" has it`,
		"bridge,address=10.77.0.2/24":  "has another subnet, 10.9.0.0/28",
		"bridge,address=10.9.0.2/24":   "has another subnet, 10.9.0.0/28",
		"bridge,address=192.0.2.99/30": "has another subnet",
	} {
		if _, err := onStreet(t, "late", s, said); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", said, err, want)
		}
	}
}

func TestChooseSubnet(t *testing.T) {
	red, err := chooseSubnet("red", netip.Prefix{}, nil)
	blue, err2 := chooseSubnet("blue", netip.Prefix{}, nil)
	whole := netip.MustParsePrefix("10.64.0.0/10")
	if err != nil || err2 != nil || red == blue || red.Bits() != 24 || !whole.Overlaps(red) {
		t.Errorf("red %v, %v, blue %v, %v", red, err, blue, err2)
	}
	if next, err := chooseSubnet("red", netip.Prefix{}, []netip.Prefix{red}); err != nil || next.Overlaps(red) {
		t.Errorf("taken: %v, %v", next, err)
	}
	if kept, err := chooseSubnet("red", blue, nil); err != nil || kept != blue {
		t.Errorf("what it had: %v, %v, want %v", kept, err, blue)
	}
	if moved, err := chooseSubnet("red", blue, []netip.Prefix{blue}); err != nil || moved != red {
		t.Errorf("what it had is taken: %v, %v, want %v", moved, err, red)
	}
	if none, err := chooseSubnet("red", netip.Prefix{}, []netip.Prefix{whole}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("all taken: %v, %v, want fs.ErrExist", none, err)
	}
	taken := street{taken: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}}
	if m, err := onStreet(t, "a", taken, "bridge,address=10.9.3.2/24"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("address in a subnet that is there: %+v, %v", m.NICs, err)
	}
}

// TestChooseMAC has MACs that are taken, said and kept.
func TestChooseMAC(t *testing.T) {
	plain, err := onStreet(t, "a", street{}, "tap=t0", "bridge=br0,mac=02:00:00:00:AB:01")
	if err != nil {
		t.Fatal(err)
	}
	if b := plain.NICs[1]; b.MAC != "02:00:00:00:ab:01" || b.Bridge != "br0" || plain.NICs[0].Tap != "t0" {
		t.Errorf("got %+v", plain.NICs)
	}
	var first byte
	if _, err := fmt.Sscanf(plain.NICs[0].MAC, "%x:", &first); err != nil || first&3 != 2 {
		t.Errorf("MAC %s is not one administered locally, of one device", plain.NICs[0].MAC)
	}
	thief := store.Machine{Name: "b", NICs: plain.NICs}
	moved, err := onStreet(t, "a", street{neighbors: []store.Machine{thief}}, "tap=t0")
	if err != nil || moved.NICs[0].MAC == plain.NICs[0].MAC {
		t.Errorf("a MAC that a neighbor has is given again: %+v, %v", moved.NICs, err)
	}
}

func TestPlanNICs(t *testing.T) {
	spec := configs.Machine{Networks: []configs.Network{{Kind: configs.NetUser}, {Kind: configs.NetPasst}, {Kind: configs.NetBridge}, {Kind: configs.NetTap, Name: "t0"}}}
	m := store.Machine{Name: "web", Spec: spec}
	args := strings.Join(nicArgs(planNICs(m, nets{fds: []netFDs{{}, {7, 0}, {5, 6}, {8, 0}}})), "\n")
	for _, want := range []string{
		"user,id=net0,net=10.0.2.0/24,ipv6=off\n", "socket,id=net1,fd=7\n", "tap,id=net2,fd=5,vhost=on,vhostfd=6\n", "tap,id=net3,fd=8\n",
		`{"driver":"virtio-net-pci","id":"nic3","netdev":"net3","mac":"`, `"romfile":""}`,
	} {
		if !strings.Contains(args, want) {
			t.Errorf("want %q in\n%s", want, args)
		}
	}
	if none := planNICs(store.Machine{Spec: configs.Machine{Networks: []configs.Network{{Kind: configs.NetNone}}}}, nets{}); none != nil {
		t.Errorf("none: %+v", none)
	}
}

func TestPasstArgs(t *testing.T) {
	m, err := onStreet(t, "a", street{}, "passt")
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(passtArgs(m.NICs[0], true), " ")
	want := "--foreground --quiet --one-off --ipv4-only --fd 3 --address 10.0.2.15 --netmask 255.255.255.0 --gateway 10.0.2.2 --dns 10.0.2.3 --dns-forward 10.0.2.3 --runas 65534:65534"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
