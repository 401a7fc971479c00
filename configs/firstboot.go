package configs

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// What a launch waits for, as values of [Machine.Ready].
const (
	ReadyNotify = "notify" // the guest's own word: sd_notify over vsock, as systemd 254 and later sends it when told where
	ReadySSH    = "ssh"    // an answer of its SSH server
	ReadyNone   = "none"   // nothing: a machine is up as soon as it runs
)

// Root is who users are in a guest unless [Machine.User] says otherwise.
const Root = "root"

const (
	// maxCredential bounds what one credential holds, in bytes. All go into one
	// SMBIOS table of 64 KiB, as base64.
	maxCredential = 32 << 10
	// maxKeys bounds how many public keys are let in; they go there too.
	maxKeys = 64
)

// A Credential is a value that systemd of the guest takes by its name, see
// systemd.system-credentials(7).
type Credential struct {
	Name  string `json:"name" yaml:"name"`
	Value string `json:"value,omitempty" yaml:"value,omitempty"`
	File  string `json:"file,omitempty" yaml:"file,omitempty"` // absolute path of a file with the value, read at each start
}

// ParseCredential reads NAME=VALUE or NAME=@FILE. It returns a [*FieldError] for
// anything else. The file may be relative.
func ParseCredential(text string) (Credential, error) {
	name, value, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return Credential{}, &FieldError{"credential", text, "want NAME=VALUE or NAME=@FILE"}
	}
	file, isFile := strings.CutPrefix(value, "@")
	switch {
	case isFile && file == "":
		return Credential{}, &FieldError{"credential", text, "want a file after the @ (a value that begins with @ has to be in a file)"}
	case isFile:
		return Credential{Name: name, File: file}, nil
	}
	return Credential{Name: name, Value: value}, nil
}

// String returns c in the form that [ParseCredential] reads.
func (c Credential) String() string {
	if c.File != "" {
		return c.Name + "=@" + c.File
	}
	return c.Name + "=" + c.Value
}

// CredentialNotify is where a guest's systemd says that it is ready. The launch
// itself gives it.
const CredentialNotify = "vmm.notify_socket"

// credentialName is narrower than what systemd takes (credential_name_valid): a
// file name without a colon.
var credentialName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._@-]{0,254}$`)

// userName is what useradd(8) takes by default.
var userName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

// Login returns who users are in the guest.
func (m Machine) Login() string {
	if m.User == "" {
		return Root
	}
	return m.User
}

// Awaited reports whether a launch waits for the guest to be ready.
func (m Machine) Awaited() bool { return m.Ready != ReadyNone }

// Credentialed reports whether the guest gets systemd credentials: a disk guest
// always, since a launch tells it by them who may enter, a built-in one for what
// the user gives it.
func (m Machine) Credentialed() bool {
	return m.Guest() == GuestDisk || len(m.Credentials) > 0
}

// Seeded reports whether the guest gets a cloud-init seed.
func (m Machine) Seeded() bool {
	return m.Guest() == GuestDisk || m.UserData != "" || m.NetworkConfig != ""
}

// defaultFirstBoot: of a disk we can't know what is on it, but most of
// today's systems tell when they are ready.
func (m *Machine) defaultFirstBoot() {
	set(&m.Ready, ReadyNotify)
}

// validateFirstBoot adds the mistakes in what the guest is told at its first boot
// to errs.
func (m Machine) validateFirstBoot(errs *Errors) {
	errs.oneOf("ready", m.Ready, "", ReadyNotify, ReadySSH, ReadyNone)
	if m.User != "" && !userName.MatchString(m.User) {
		errs.add("user", m.User, "want 1 to 32 of a-z 0-9 _ - and a letter or _ first")
	}
	if m.Guest() != GuestDisk && m.User != "" && m.User != Root {
		errs.add("user", m.User, fmt.Sprintf("the %s guest has only root", m.Guest()))
	}
	if len(m.SSHKeys) > maxKeys {
		errs.add("ssh-key", fmt.Sprint(len(m.SSHKeys)), fmt.Sprintf("want at most %d keys", maxKeys))
	}
	for _, k := range m.SSHKeys {
		errs.check("ssh-key", k, validKeyLine(k))
	}
	for _, f := range []struct{ flag, path string }{{"user-data", m.UserData}, {"network-config", m.NetworkConfig}} {
		if f.path != "" {
			errs.check(f.flag, f.path, absolutePath(f.path))
		}
	}
	m.validateCredentials(errs)
	if m.Guest() == GuestProbe {
		m.refuseFirstBoot(errs)
	}
}

func (m Machine) validateCredentials(errs *Errors) {
	var seen []string
	for _, c := range m.Credentials {
		switch {
		case c.Name == CredentialNotify:
			errs.add("credential", c.Name, "is what vmlaunch itself tells the guest (see --ready)")
		case !credentialName.MatchString(c.Name):
			errs.add("credential", c.Name, "want a name of 1 to 255 of A-Z a-z 0-9 . _ @ -, no dot first")
		case slices.Contains(seen, c.Name):
			errs.add("credential", c.Name, "is there twice")
		}
		seen = append(seen, c.Name)
		if len(c.Value) > maxCredential {
			errs.add("credential", c.Name, fmt.Sprintf("has %d bytes, want at most %d", len(c.Value), maxCredential))
		}
		if c.File != "" {
			errs.check("credential", c.String(), absolutePath(c.File))
		}
	}
}

// refuseFirstBoot is for the guest that is told nothing.
func (m Machine) refuseFirstBoot(errs *Errors) {
	const why = "the probe guest has no such thing"
	errs.unwanted("ssh-key", strings.Join(m.SSHKeys, " "), why)
	errs.unwanted("user-data", m.UserData, why)
	errs.unwanted("network-config", m.NetworkConfig, why)
	for _, c := range m.Credentials {
		errs.add("credential", c.Name, why)
	}
}

// validKeyLine says what is wrong with the form of a line for authorized_keys(5);
// whether there is a key in it is not asked.
func validKeyLine(line string) error {
	if strings.TrimSpace(line) == "" || strings.ContainsAny(line, "\x00\r\n") {
		return errors.New("want one line with a public key")
	}
	return nil
}

// absolutePath says what is wrong with the path of a file that vmlaunch itself
// reads.
func absolutePath(path string) error {
	if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
		return errors.New("want an absolute path without NUL bytes")
	}
	return nil
}
