package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/internal/agentconfig"
)

// setUpNetworks brings up the devices that the host knows addresses for. Names
// are the kernel's to choose, so they are found by their MACs.
func setUpNetworks(ctx context.Context, networks []agentconfig.Network) error {
	if len(networks) == 0 {
		return nil
	}
	sock, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("set up network: %w", os.NewSyscallError("socket", err))
	}
	defer unix.Close(sock)
	for i, n := range networks {
		name, err := waitMAC(ctx, n.MAC)
		if err != nil {
			return err
		}
		if err := setAddress(sock, name, n.Address); err != nil {
			return err
		}
		if err := linkUp(sock, name); err != nil {
			return err
		}
		if err := addRoute(sock, n.Gateway, i); err != nil {
			return err
		}
	}
	if text := resolvConf(networks); text != "" {
		if err := os.WriteFile("/etc/resolv.conf", []byte(text), 0o644); err != nil {
			return fmt.Errorf("set up network: %w", err)
		}
	}
	return nil
}

// waitMAC waits until there is a device with that MAC, at most [linkWait], and
// returns its name.
func waitMAC(ctx context.Context, text string) (string, error) {
	mac, err := net.ParseMAC(text)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, linkWait)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		all, err := net.Interfaces()
		if err != nil {
			return "", err
		}
		for _, i := range all {
			if bytes.Equal(i.HardwareAddr, mac) {
				return i.Name, nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", fmt.Errorf("find network device %s: not there after %v (is virtio_net in the kernel?)", text, linkWait)
		}
	}
}

// A rtentry is that of linux/route.h.
type rtentry struct {
	_       uint64
	dst     unix.RawSockaddrInet4
	gateway unix.RawSockaddrInet4
	genmask unix.RawSockaddrInet4
	flags   uint16
	_       int16
	_       uint64
	_       uintptr
	metric  int16 // one more than the route's
	_       uintptr
	_       [2]uint64
	_       uint16
}

// addRoute adds a default route by way of gateway, if there is one. The routes of
// later networks are weaker.
func addRoute(sock int, gateway netip.Addr, i int) error {
	if !gateway.IsValid() {
		return nil
	}
	r := rtentry{flags: unix.RTF_UP | unix.RTF_GATEWAY, metric: int16(i + 1)}
	r.dst.Family, r.gateway.Family, r.genmask.Family = unix.AF_INET, unix.AF_INET, unix.AF_INET
	r.gateway.Addr = gateway.As4()
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(sock), unix.SIOCADDRT, uintptr(unsafe.Pointer(&r)))
	runtime.KeepAlive(&r)
	if errno != 0 {
		return fmt.Errorf("add route by way of %v: %w", gateway, errno)
	}
	return nil
}

// resolvConf returns the text of resolv.conf(5); "" where nobody answers.
func resolvConf(networks []agentconfig.Network) string {
	var b strings.Builder
	for _, n := range networks {
		if n.DNS.IsValid() {
			fmt.Fprintf(&b, "nameserver %v\n", n.DNS)
		}
	}
	return b.String()
}
