package image

import (
	"encoding/json"
	"fmt"
	"io"
)

// A Seed is what cloud-init of a guest is told, in the form of its NoCloud
// source: a small disk with the label cidata.
type Seed struct {
	InstanceID string // another one makes cloud-init take the guest for a new machine
	Hostname   string
	User       string   // made if it is neither empty nor root
	SSHKeys    []string // lines for authorized_keys, of User, root and the image's own user
	HostKey    []byte   // private, PEM; the guest's
	HostPub    string

	UserData      []byte // the user's own, as it is; nil for none
	NetworkConfig []byte // the same
}

// cloudConfig begins what cloud-init reads as its own configuration. It is YAML,
// and so JSON will do.
const cloudConfig = "#cloud-config\n"

// Write writes the image of the seed's disk. What we say ourselves is in its vendor
// data: cloud-init puts the user's own data over it, key by key, in whatever form
// that is. It fails as w does.
func (s Seed) Write(w io.Writer) error {
	user := s.UserData
	if user == nil {
		user = []byte(cloudConfig + "{}\n") // cloud-init wants some
	}
	meta, err := json.Marshal(map[string]any{
		"instance-id": s.InstanceID, "local-hostname": s.Hostname, "public-keys": s.SSHKeys,
	})
	if err != nil {
		return fmt.Errorf("write seed: %w", err)
	}
	vendor, err := s.vendorData()
	if err != nil {
		return fmt.Errorf("write seed: %w", err)
	}
	files := []isoFile{{"meta-data", meta}, {"user-data", user}, {"vendor-data", vendor}}
	if s.NetworkConfig != nil {
		files = append(files, isoFile{"network-config", s.NetworkConfig})
	}
	if err := writeISO(w, "cidata", files); err != nil {
		return fmt.Errorf("write seed: %w", err)
	}
	return nil
}

// vendorData is our part: the machine's host key, its user, and root, whom images
// lock out of SSH.
func (s Seed) vendorData() ([]byte, error) {
	users := []any{"default"}
	if s.User != "" && s.User != "root" {
		users = append(users, map[string]any{
			"name": s.User, "shell": "/bin/bash", "sudo": "ALL=(ALL) NOPASSWD:ALL", "lock_passwd": true,
			"ssh_authorized_keys": s.SSHKeys,
		})
	}
	text, err := json.Marshal(map[string]any{
		"disable_root": false,
		"users":        users,
		"ssh_keys":     map[string]string{"ed25519_private": string(s.HostKey), "ed25519_public": s.HostPub},
	})
	return append([]byte(cloudConfig), append(text, '\n')...), err
}
