package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The address that QEMU's user network gives its one guest; nothing else on it
// is used but the forwarded SSH port, so there is no route and no DNS.
const (
	ethernet = "eth0"
)

// linkWait bounds the wait for eth0. Its driver makes it while the module
// loads, in an emulated machine some milliseconds later.
const linkWait = 10 * time.Second

// setHostname sets the kernel's host name; empty keeps it.
func setHostname(name string) error {
	if name == "" {
		return nil
	}
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("set host name %q: %w", name, err)
	}
	return nil
}

// setUpNetwork brings lo up, and eth0 with its fixed address if asked to. A
// kernel without IPv4 (the light one) has nothing to set up.
func setUpNetwork(ctx context.Context, wantEthernet bool) error {
	sock, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) && !wantEthernet {
		return nil
	}
	if err != nil {
		return fmt.Errorf("set up network: %w", os.NewSyscallError("socket", err))
	}
	defer unix.Close(sock)
	if err := linkUp(sock, "lo"); err != nil {
		return err
	}
	if !wantEthernet {
		return nil
	}
	if err := waitLink(ctx, sock, ethernet); err != nil {
		return err
	}
	if err := setAddress(sock, ethernet, netip.MustParsePrefix("10.0.2.15/24")); err != nil {
		return err
	}
	return linkUp(sock, ethernet)
}

// linkUp sets IFF_UP, see netdevice(7).
func linkUp(sock int, name string) error {
	r, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(sock, unix.SIOCGIFFLAGS, r)
	}
	if err == nil {
		r.SetUint16(r.Uint16() | unix.IFF_UP)
		err = unix.IoctlIfreq(sock, unix.SIOCSIFFLAGS, r)
	}
	if err != nil {
		return fmt.Errorf("bring up %s: %w", name, err)
	}
	return nil
}

func setAddress(sock int, name string, address netip.Prefix) error {
	for _, set := range []struct {
		request uint
		value   []byte
	}{
		{unix.SIOCSIFADDR, address.Addr().AsSlice()},
		{unix.SIOCSIFNETMASK, net.CIDRMask(address.Bits(), 32)},
	} {
		r, err := unix.NewIfreq(name)
		if err == nil {
			err = r.SetInet4Addr(set.value)
		}
		if err == nil {
			err = unix.IoctlIfreq(sock, set.request, r)
		}
		if err != nil {
			return fmt.Errorf("give %s its address: %w", name, err)
		}
	}
	return nil
}

// waitLink waits until the interface exists, at most [linkWait].
func waitLink(ctx context.Context, sock int, name string) error {
	ctx, cancel := context.WithTimeout(ctx, linkWait)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		r, err := unix.NewIfreq(name)
		if err == nil {
			err = unix.IoctlIfreq(sock, unix.SIOCGIFINDEX, r)
		}
		if err == nil || !errors.Is(err, unix.ENODEV) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("bring up %s: not there after %v (is virtio_net among the modules, and a device attached?)", name, linkWait)
		}
	}
}
