package agentconfig

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// ErrBadAddress is returned for an address of neither form.
var ErrBadAddress = errors.New("bad address")

// An Address is one that the agent listens on.
type Address struct {
	Network string // "vsock" or "tcp"
	Host    string // of tcp: empty for any
	Port    uint32
}

// String returns the form that [ParseAddress] reads.
func (a Address) String() string {
	if a.Network == "tcp" {
		return "tcp:" + a.HostPort()
	}
	return a.Network + ":" + strconv.FormatUint(uint64(a.Port), 10)
}

// HostPort returns a tcp address as package net wants it.
func (a Address) HostPort() string {
	return net.JoinHostPort(a.Host, strconv.FormatUint(uint64(a.Port), 10))
}

// ParseAddress reads "vsock:PORT" (any CID of this side) or "tcp:HOST:PORT"
// (no HOST: any address). It returns [ErrBadAddress] for anything else.
func ParseAddress(s string) (Address, error) {
	network, rest, _ := strings.Cut(s, ":")
	a := Address{Network: network}
	switch network {
	case "vsock":
		port, err := parsePort(rest, 32)
		if err != nil {
			return Address{}, fmt.Errorf("listen %q: %w (want vsock:PORT)", s, ErrBadAddress)
		}
		a.Port = port
		return a, nil
	case "tcp":
		host, port, err := net.SplitHostPort(rest)
		if err != nil {
			return Address{}, fmt.Errorf("listen %q: %w (want tcp:HOST:PORT)", s, ErrBadAddress)
		}
		if a.Port, err = parsePort(port, 16); err != nil {
			return Address{}, fmt.Errorf("listen %q: %w (want tcp:HOST:PORT)", s, ErrBadAddress)
		}
		a.Host = host
		return a, nil
	}
	return Address{}, fmt.Errorf("listen %q: %w (want vsock:PORT or tcp:HOST:PORT)", s, ErrBadAddress)
}

// A Notify is where the readiness messages go: a vsock stream address.
type Notify struct{ CID, Port uint32 }

// String returns the form that [ParseNotify] reads.
func (n Notify) String() string { return fmt.Sprintf("vsock-stream:%d:%d", n.CID, n.Port) }

// ParseNotify reads "vsock-stream:CID:PORT", the form of systemd's
// NOTIFY_SOCKET and of its credential vmm.notify_socket. It returns
// [ErrBadAddress] for anything else.
func ParseNotify(s string) (Notify, error) {
	rest, ok := strings.CutPrefix(s, "vsock-stream:")
	cid, port, two := strings.Cut(rest, ":")
	c, errC := strconv.ParseUint(cid, 10, 32)
	p, errP := parsePort(port, 32)
	if !ok || !two || errC != nil || errP != nil {
		return Notify{}, fmt.Errorf("notify %q: %w (want vsock-stream:CID:PORT)", s, ErrBadAddress)
	}
	return Notify{CID: uint32(c), Port: p}, nil
}

// parsePort reads a port of the given width; VMADDR_PORT_ANY is none.
func parsePort(s string, bits int) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, bits)
	if err == nil && n == 1<<32-1 {
		err = ErrBadAddress
	}
	return uint32(n), err
}
