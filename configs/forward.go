package configs

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// The networks of an [Endpoint].
const (
	NetworkTCP   = "tcp"
	NetworkUnix  = "unix"
	NetworkVsock = "vsock" // in the guest only
)

const (
	// DefaultListen is where a forward listens that names no address: nobody else
	// on the network is let in unless that is said.
	DefaultListen = "127.0.0.1"

	// GuestLocalhost is the guest's own address, as a target without a host means it.
	GuestLocalhost = "localhost"

	// maxSocketPath is the longest path of a Unix socket, in bytes; see unix(7).
	maxSocketPath = 107
)

// forwardForm is what a forward looks like, for errors.
const forwardForm = "want LISTEN:TARGET, as 8080:80, :80, 127.0.0.1:8080:80, 8080:unix:/run/x.sock, unix:/tmp/x.sock:80, 8080:vsock:1024"

// An Endpoint is one side of a [Forward].
type Endpoint struct {
	Network string // [NetworkTCP], [NetworkUnix] or [NetworkVsock]
	Host    string // of tcp
	Port    uint32 // of tcp and vsock; 0 to listen on lets the system choose
	Path    string // of unix
}

// A Forward is one port of this host that leads to one of a machine.
type Forward struct {
	Listen Endpoint // tcp or unix
	Target Endpoint // in the guest
}

// ParseForward reads LISTEN:TARGET. LISTEN is a TCP port, HOST:PORT or unix:PATH, on
// this host; an empty PORT lets the system choose, an empty HOST is [DefaultListen].
// TARGET is PORT, tcp:HOST:PORT, unix:PATH or vsock:PORT, as the guest sees it. An
// IPv6 address stands in brackets; in a PATH a colon is \: and a backslash \\.
// It fails for all else, and for a port that does not exist.
func ParseForward(s string) (Forward, error) {
	fields, err := forwardFields(s)
	if err != nil {
		return Forward{}, err
	}
	listen, rest, err := parseListen(fields)
	if err != nil {
		return Forward{}, err
	}
	target, err := parseTarget(rest)
	if err != nil {
		return Forward{}, err
	}
	return Forward{Listen: listen, Target: target}, nil
}

// forwardFields splits at colons, but not at those in brackets or behind a
// backslash, and takes the brackets and backslashes away.
func forwardFields(s string) ([]string, error) {
	var fields []string
	var field strings.Builder
	inside := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == 0:
			return nil, errors.New("holds a NUL byte")
		case c == '\\':
			if i++; i == len(s) || s[i] != ':' && s[i] != '\\' {
				return nil, fmt.Errorf(`want \: or \\ behind a backslash`)
			}
			field.WriteByte(s[i])
		case c == '[' && field.Len() == 0 && !inside && !pathNext(fields):
			inside = true
		case c == ']' && inside:
			if i+1 < len(s) && s[i+1] != ':' || !isIPv6(field.String()) {
				return nil, fmt.Errorf("want an IPv6 address in brackets")
			}
			inside = false
		case c == ':' && !inside:
			fields = append(fields, field.String())
			field.Reset()
		default:
			field.WriteByte(c)
		}
	}
	if inside {
		return nil, fmt.Errorf("want an IPv6 address in brackets")
	}
	return append(fields, field.String()), nil
}

// pathNext reports whether the field behind these is a path, in which a bracket is
// one.
func pathNext(fields []string) bool {
	return len(fields) > 0 && fields[len(fields)-1] == NetworkUnix
}

func isIPv6(s string) bool {
	address, _, _ := strings.Cut(s, "%") // a zone, as in fe80::1%eth0
	return strings.Contains(address, ":") && net.ParseIP(address) != nil
}

// parseListen reads the first fields and returns the others.
func parseListen(f []string) (e Endpoint, rest []string, err error) {
	switch {
	case len(f) >= 3 && f[0] == NetworkUnix:
		e = Endpoint{Network: NetworkUnix, Path: f[1]}
		return e, f[2:], validSocketPath(e.Path)
	case len(f) < 2:
		if isNumber(f[0]) {
			return e, nil, fmt.Errorf("want both sides, as %s:%[1]s, or :%[1]s to have a free port chosen", f[0])
		}
		return e, nil, errors.New(forwardForm)
	case f[0] == "" || isNumber(f[0]):
		port, err := parseTCPPort(f[0], true)
		return Endpoint{Network: NetworkTCP, Host: DefaultListen, Port: port}, f[1:], err
	case len(f) < 3 || f[0] == NetworkTCP || f[0] == NetworkVsock:
		return e, nil, errors.New(forwardForm)
	}
	port, err := parseTCPPort(f[1], true)
	if err == nil {
		err = validHost(f[0])
	}
	return Endpoint{Network: NetworkTCP, Host: f[0], Port: port}, f[2:], err
}

// parseTarget reads what is left.
func parseTarget(f []string) (Endpoint, error) {
	switch {
	case len(f) == 1 && isNumber(f[0]):
		port, err := parseTCPPort(f[0], false)
		return Endpoint{Network: NetworkTCP, Host: GuestLocalhost, Port: port}, err
	case len(f) == 2 && f[0] == NetworkVsock:
		port, err := strconv.ParseUint(f[1], 10, 32)
		if err != nil || port == 1<<32-1 {
			return Endpoint{}, fmt.Errorf("vsock port %q: want a number from 0 to 4294967294", f[1])
		}
		return Endpoint{Network: NetworkVsock, Port: uint32(port)}, nil
	case len(f) == 2 && f[0] == NetworkUnix:
		e := Endpoint{Network: NetworkUnix, Path: f[1]}
		if !strings.HasPrefix(e.Path, "/") {
			return e, fmt.Errorf("socket %q in the guest: want an absolute path", e.Path)
		}
		return e, validSocketPath(e.Path)
	case len(f) > 2 && f[0] == NetworkUnix:
		return Endpoint{}, fmt.Errorf(`want \: for a colon in a path`)
	case len(f) == 3 && f[0] == NetworkTCP:
		port, err := parseTCPPort(f[2], false)
		if err == nil {
			err = validHost(f[1])
		}
		return Endpoint{Network: NetworkTCP, Host: f[1], Port: port}, err
	}
	if last := f[len(f)-1]; strings.HasSuffix(last, "/udp") {
		return Endpoint{}, fmt.Errorf("UDP is not forwarded")
	}
	return Endpoint{}, errors.New(forwardForm)
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// parseTCPPort reads a port; none, where that may be, is 0.
func parseTCPPort(s string, mayChoose bool) (uint32, error) {
	if s == "" && mayChoose {
		return 0, nil
	}
	port, err := strconv.ParseUint(s, 10, 16)
	if err != nil || port == 0 && !mayChoose {
		return 0, fmt.Errorf("port %q: want a number from 1 to 65535", s)
	}
	return uint32(port), nil
}

func validHost(s string) error {
	if s == "" || strings.ContainsAny(s, " \t\r\n/\\[]") || strings.Contains(s, ":") && !isIPv6(s) {
		return fmt.Errorf("host %q: want a name or an address, IPv6 in brackets", s)
	}
	return nil
}

// validSocketPath refuses what the kernel does not take, and "@", which begins
// another kind of name in package net.
func validSocketPath(path string) error {
	switch {
	case path == "":
		return fmt.Errorf("unix: without a path")
	case strings.HasPrefix(path, "@"):
		return fmt.Errorf("socket %q: want a path (./%[1]s if that is a file)", path)
	case len(path) > maxSocketPath:
		return fmt.Errorf("socket %q: path of %d bytes, want at most %d", path, len(path), maxSocketPath)
	}
	return nil
}

// String returns f in the form that [ParseForward] reads.
func (f Forward) String() string {
	target := f.Target.String()
	switch {
	case f.Target.Network == NetworkTCP && f.Target.Host == GuestLocalhost:
		target = strconv.FormatUint(uint64(f.Target.Port), 10)
	case f.Target.Network == NetworkTCP:
		target = NetworkTCP + ":" + target
	}
	return f.Listen.String() + ":" + target
}

// String returns e as it stands before the target, or, with its network before it
// if that is tcp, as a target.
func (e Endpoint) String() string {
	port := strconv.FormatUint(uint64(e.Port), 10)
	switch {
	case e.Network == NetworkUnix:
		return NetworkUnix + ":" + strings.NewReplacer(`\`, `\\`, ":", `\:`).Replace(e.Path)
	case e.Network == NetworkVsock:
		return NetworkVsock + ":" + port
	case isIPv6(e.Host):
		return "[" + e.Host + "]:" + port
	}
	return e.Host + ":" + port
}

// HostPort returns a TCP address as package net wants it.
func (e Endpoint) HostPort() string {
	return net.JoinHostPort(e.Host, strconv.FormatUint(uint64(e.Port), 10))
}
