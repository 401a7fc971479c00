// Package agentconfig is the one file that tells the guest agent what to be.
// The host writes it into the initramfs ([Path], mode 0600: it holds the
// machine's SSH host key), the agent reads it once as PID 1.
package agentconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Path is where the file lies in the guest's root.
const Path = "/etc/vmlaunch/config.json"

// The built-in command lines that the agent carries out itself when they come
// as an SSH exec request: no shell, no program in the guest is needed.
const (
	CommandPowerOff = "vmlaunch-guest poweroff"
	CommandReboot   = "vmlaunch-guest reboot"
)

// The ports of the built-in guest.
const (
	SSHPort     = 22  // where a systemd guest has its SSH over vsock, too
	EchoPort    = 7   // as in RFC 862
	ForwardPort = 722 // package tunnel tells what is spoken there
)

// maxSize bounds the file: keys and a list of modules, a few KiB in practice.
const maxSize = 1 << 20

// A Role says what the agent is PID 1 of.
type Role string

// The two roles.
const (
	Guest Role = "guest" // of a machine: SSH over vsock
	Nest  Role = "nest"  // of the nested host: SSH over TCP, eth0
)

// A Config is the file's content.
type Config struct {
	Role     Role   `json:"role"`
	Hostname string `json:"hostname,omitempty"`
	// Listen holds the SSH server's addresses, see [ParseAddress].
	Listen []string `json:"listen"`
	// HostKey is the server's ed25519 private key, OpenSSH PEM.
	HostKey string `json:"hostKey"`
	// AuthorizedKeys are the only keys let in, a line each as in authorized_keys.
	AuthorizedKeys []string `json:"authorizedKeys"`
	// Notify is where READY=1 goes, see [ParseNotify]; empty for nowhere.
	Notify string `json:"notify,omitempty"`
	// EchoPort is the vsock port of the echo service; 0 for none.
	EchoPort uint32 `json:"echoPort,omitempty"`
	// ForwardPort is the vsock port of the forward service; 0 for none.
	ForwardPort uint32 `json:"forwardPort,omitempty"`
	// Modules are paths of kernel modules in the guest, in load order.
	Modules []string `json:"modules,omitempty"`
	// Mounts are the folders of the host to mount, in this order.
	Mounts []Mount `json:"mounts,omitempty"`
	// Networks are the network devices to give addresses.
	Networks []Network `json:"networks,omitempty"`
	// Network asks for eth0 with 10.0.2.15/24, the guest's address in QEMU's
	// user network.
	Network bool `json:"network,omitempty"`
}

// Read reads and validates a file. It fails on unknown fields: agent and host
// come from one build, so a field that is unknown is a mistake.
func Read(r io.Reader) (Config, error) {
	var c Config
	d := json.NewDecoder(io.LimitReader(r, maxSize))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Config{}, fmt.Errorf("read agent configuration: %w", err)
	}
	if err := c.Validate(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// Write writes the file. It fails, and writes nothing, if c is not valid.
func (c Config) Write(w io.Writer) error {
	if err := c.Validate(); err != nil {
		return err
	}
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("write agent configuration: %w", err)
	}
	if _, err := w.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("write agent configuration: %w", err)
	}
	return nil
}

// Validate returns all mistakes at once, or nil. Keys are only looked at for
// presence; the SSH server parses them.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("agent configuration: "+format, args...))
	}
	if c.Role != Guest && c.Role != Nest {
		bad("role %q: want %q or %q", c.Role, Guest, Nest)
	}
	if strings.ContainsAny(c.Hostname, "\x00/\n") || len(c.Hostname) > 64 {
		bad("hostname %q: want at most 64 characters, no slash", c.Hostname)
	}
	if len(c.Listen) == 0 {
		bad("listen: want at least one address")
	}
	for _, s := range c.Listen {
		if _, err := ParseAddress(s); err != nil {
			bad("%w", err)
		}
	}
	if c.HostKey == "" {
		bad("hostKey: is missing")
	}
	if len(c.AuthorizedKeys) == 0 {
		bad("authorizedKeys: want at least one")
	}
	if c.Notify != "" {
		if _, err := ParseNotify(c.Notify); err != nil {
			bad("%w", err)
		}
	}
	for _, m := range c.Modules {
		if !strings.HasPrefix(m, "/") {
			bad("module %q: want an absolute path", m)
		}
	}
	for _, m := range c.Mounts {
		if err := m.validate(); err != nil {
			bad("mount %q: %w", m.Tag, err)
		}
	}
	for _, n := range c.Networks {
		if err := n.validate(); err != nil {
			bad("network %q: %w", n.MAC, err)
		}
	}
	return errors.Join(errs...)
}
