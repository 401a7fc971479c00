package command

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/guest"
)

// maxKeyFile bounds a file with public keys, in bytes.
const maxKeyFile = 64 << 10

// firstBootFlags are what flags say about a guest's first boot, before it is read.
type firstBootFlags struct {
	keys        []string
	credentials []string
}

// addFirstBoot adds the flags about what a guest is told when it boots.
func (f *machineFlags) addFirstBoot(fs *pflag.FlagSet) {
	m := &f.spec
	fs.StringVar(&m.User, "user", "", "`USER` of a disk guest for exec, shell, cp and ssh-config (default root); cloud-init makes it")
	fs.StringArrayVar(&f.firstBoot.keys, "ssh-key", nil, "one more public key that is let in: `FILE|TEXT` as in authorized_keys; may be repeated")
	fs.StringVar(&m.UserData, "user-data", "", "`FILE` for cloud-init, as it is")
	fs.StringVar(&m.NetworkConfig, "network-config", "", "`FILE` for cloud-init, as it is")
	fs.StringArrayVar(&f.firstBoot.credentials, "credential", nil, "systemd credential `NAME=VALUE|NAME=@FILE`; may be repeated")
	fs.StringVar(&m.Ready, "ready", "", "what to wait `FOR`: notify (default), the guest's own word; ssh, an answer; or none")
}

// parseFirstBoot puts what the flags say into m. It fails with every mistake at
// once.
func (f *machineFlags) parseFirstBoot(m *configs.Machine) error {
	var errs []error
	for _, text := range f.firstBoot.keys {
		keys, err := publicKeys(text)
		m.SSHKeys = append(m.SSHKeys, keys...)
		errs = append(errs, err)
	}
	for _, text := range f.firstBoot.credentials {
		c, err := configs.ParseCredential(text)
		if err == nil && c.File != "" {
			c.File, err = filepath.Abs(c.File)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		m.Credentials = append(m.Credentials, c)
	}
	for _, path := range []*string{&m.UserData, &m.NetworkConfig} { // always files: there are none with names
		if *path != "" {
			abs, err := filepath.Abs(*path)
			*path = abs
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// publicKeys returns the keys that text is or that the file of this name has, each
// in a line for authorized_keys. It fails with [ErrUsage] if there is none, and
// as reading the file does.
func publicKeys(text string) ([]string, error) {
	if _, err := guest.ParsePublic(text); err == nil && !strings.ContainsAny(text, "\r\n") {
		return []string{text}, nil
	}
	if text == "" {
		return nil, usagef("ssh-key: want a file, or the text of a public key")
	}
	// Its size first: a device would have no end.
	if info, err := os.Stat(text); err != nil {
		return nil, fmt.Errorf("ssh-key %q: %w (want a file, or the text of a public key)", text, errors.Unwrap(err))
	} else if !info.Mode().IsRegular() || info.Size() > maxKeyFile {
		return nil, usagef("ssh-key %q: want a file of at most %d bytes", text, maxKeyFile)
	}
	content, err := os.ReadFile(text)
	if err != nil {
		return nil, fmt.Errorf("ssh-key %q: %w", text, errors.Unwrap(err))
	}
	return parseKeys(text, string(content))
}

// parseKeys reads a file in the form of authorized_keys(5); name is for errors.
func parseKeys(name, content string) ([]string, error) {
	if strings.Contains(content, "PRIVATE KEY-----") {
		return nil, usagef("ssh-key %q: is a private key, want the public one (%s.pub)", name, name)
	}
	var keys []string
	for line := range strings.Lines(content) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if _, err := guest.ParsePublic(line); err != nil {
			return nil, usagef("ssh-key %q: %q is no public key", name, line)
		}
		keys = append(keys, line)
	}
	if len(keys) == 0 {
		return nil, usagef("ssh-key %q: has no public key in it", name)
	}
	return keys, nil
}
