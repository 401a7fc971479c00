package launcher

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/image"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

const (
	// maxSeedFile bounds a file for cloud-init, in bytes: more is a slip of the
	// finger.
	maxSeedFile = 4 << 20

	// maxTold bounds all credentials of a machine together, in bytes as the guest
	// finds them. The table that they are in has 64 KiB (16 bits of SMBIOS 2.8's
	// entry point), of which QEMU's own part grows with CPUs and memory, and ours,
	// with keys that we don't know yet, is 2 KiB.
	maxTold = 48 << 10
)

// The credentials that a disk guest is given, besides [configs.CredentialNotify];
// see systemd.system-credentials(7).
const (
	credentialRoot     = "ssh.authorized_keys.root"
	credentialAnyone   = "ssh.ephemeral-authorized_keys-all" // of any user, over vsock; since systemd 257
	credentialFiles    = "tmpfiles.extra"                    // lines of tmpfiles.d(5)
	credentialHostname = "system.hostname"                   // where the image has none of its own
	credentialFstab    = "fstab.extra"                       // lines of fstab(5); since systemd 254
)

// A firstBoot is what a spec says that a guest is told, its files read.
type firstBoot struct {
	userData, networkConfig []byte            // nil for none
	credentials             map[string]string // the user's own
}

// resolveFirstBoot reads the files that spec names. It fails with
// [fs.ErrNotExist], and if they are too large.
func resolveFirstBoot(spec configs.Machine) (b firstBoot, err error) {
	b.credentials = map[string]string{}
	var errs []error
	read := func(what, path string, most int64) []byte {
		if path == "" {
			return nil
		}
		text, err := readBounded(path, most)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %q: %w", what, path, err))
		}
		return text
	}
	b.userData = read("user-data", spec.UserData, maxSeedFile)
	b.networkConfig = read("network-config", spec.NetworkConfig, maxSeedFile)
	size := 0
	for _, c := range spec.Credentials {
		if c.File != "" {
			c.Value = string(read("credential "+c.Name+" from", c.File, maxTold))
		}
		b.credentials[c.Name] = c.Value
		size += len(oemString(c.Name, c.Value))
	}
	for _, k := range spec.SSHKeys {
		size += base64.StdEncoding.EncodedLen(len(k))
	}
	if size > maxTold {
		errs = append(errs, fmt.Errorf("credentials of machine %q: %d bytes as the guest finds them, want at most %d (larger things go onto a disk)", spec.Name, size, maxTold))
	}
	return b, errors.Join(errs...)
}

// mount adds to what a guest is told how it mounts shares; the user's own lines go
// first.
func (b firstBoot) mount(shares []Share) {
	lines := fstab(shares)
	if said := b.credentials[credentialFstab]; said != "" && len(lines) > 0 {
		lines = append([]string{strings.TrimSuffix(said, "\n")}, lines...)
	}
	if len(lines) > 0 {
		b.credentials[credentialFstab] = strings.Join(lines, "\n") + "\n"
	}
}

// readBounded reads a file of at most that many bytes.
func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, bare(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, bare(err)
	}
	if int64(len(text)) > most {
		return nil, fmt.Errorf("is larger than %d bytes", most)
	}
	return text, nil
}

// credentials returns what the guest of m is told by systemd's credentials: the
// user's own, and of a disk guest who may enter, by which key it is known, and
// whom it tells that it is ready. It is a pure function.
func credentials(m store.Machine, own map[string]string, keys guest.Keys) map[string]string {
	all := map[string]string{}
	maps.Copy(all, own)
	if m.Spec.Guest() != configs.GuestDisk {
		return all
	}
	// Text that is there already goes first: of two lines for one path the first
	// counts, so a user's own is stronger.
	add := func(name, text string) {
		if said := all[name]; said != "" {
			text = strings.TrimSuffix(said, "\n") + "\n" + text
		}
		all[name] = text
	}
	letIn := strings.Join(letIn(m.Spec, keys), "\n") + "\n"
	add(credentialRoot, letIn)
	if m.Spec.Login() != configs.Root {
		add(credentialAnyone, letIn)
	}
	add(credentialFiles, hostKeyFiles(keys))
	if all[credentialHostname] == "" {
		all[credentialHostname] = m.Name
	}
	for name, text := range networkUnits(m.NICs) {
		if all[name] == "" {
			all[name] = text
		}
	}
	if m.NotifyPort != 0 && m.Spec.Ready == configs.ReadyNotify {
		all[configs.CredentialNotify] = fmt.Sprintf("vsock-stream:%d:%d", vsock.Host, m.NotifyPort)
	}
	return all
}

// letIn returns the lines for authorized_keys of m's guest.
func letIn(spec configs.Machine, keys guest.Keys) []string {
	return append([]string{keys.ClientPub}, spec.SSHKeys...)
}

// hostKeyFiles makes the guest have the host key that it is known by, over any that
// its image had, before its SSH server starts; see tmpfiles.d(5).
func hostKeyFiles(keys guest.Keys) string {
	const file = "/etc/ssh/ssh_host_ed25519_key"
	line := func(file, mode, text string) string {
		return fmt.Sprintf("f+~ %s %s root root - %s\n", file, mode, base64.StdEncoding.EncodeToString([]byte(text)))
	}
	return line(file, "0600", string(keys.Host)) + line(file+".pub", "0644", keys.HostPub+"\n")
}

// oemString is the form in which systemd finds a credential in SMBIOS.
func oemString(name, value string) string {
	return "io.systemd.credential.binary:" + name + "=" + base64.StdEncoding.EncodeToString([]byte(value))
}

// planCredentials returns the files that a guest's credentials are given to QEMU
// by. What they say is nobody's business who may look at a command line. It is a
// pure function.
func planCredentials(m store.Machine, b firstBoot, f folder) []string {
	if !m.Spec.Credentialed() {
		return nil
	}
	var files []string
	for _, name := range slices.Sorted(maps.Keys(credentials(m, b.credentials, guest.Keys{}))) {
		files = append(files, f.credential(name))
	}
	return files
}

// planSeed returns the drive with the seed, the last one: others have the places
// that they would have without. It is a pure function.
func planSeed(spec configs.Machine, f folder) []Drive {
	if !spec.Seeded() {
		return nil
	}
	return []Drive{{Node: "seed", Layers: []Layer{{Path: f.seed(), Format: configs.FormatRaw}}, ReadOnly: true, Bus: spec.DiskBus, Serial: "cidata"}}
}

// writeFirstBoot writes into the run folder what the guest of m is told.
func (f folder) writeFirstBoot(m store.Machine, b firstBoot) error {
	if !m.Spec.Credentialed() && !m.Spec.Seeded() {
		return nil
	}
	keys, err := f.keys()
	if err == nil && m.Spec.Credentialed() {
		err = f.writeCredentials(credentials(m, b.credentials, keys))
	}
	if err == nil && m.Spec.Seeded() {
		err = f.writeSeed(m, b, keys)
	}
	if err != nil {
		return fmt.Errorf("write what machine %q is told: %w", m.Name, err)
	}
	return nil
}

func (f folder) writeCredentials(all map[string]string) error {
	for name, value := range all {
		path := f.credential(name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(oemString(name, value)), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (f folder) writeSeed(m store.Machine, b firstBoot, keys guest.Keys) error {
	id, err := f.instance(m.UUID)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(f.seed(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	network := b.networkConfig
	if network == nil {
		network = networkConfig(m.NICs)
	}
	seed := image.Seed{
		InstanceID: id, Hostname: m.Name, User: m.Spec.Login(), SSHKeys: letIn(m.Spec, keys), HostKey: keys.Host, HostPub: keys.HostPub,
		UserData: b.userData, NetworkConfig: network,
	}
	return errors.Join(seed.Write(file), file.Close())
}

// instance returns by what cloud-init knows the machine: the UUID of its first
// run. With another one a guest would do its first boot again.
func (f folder) instance(uuid string) (string, error) {
	path := filepath.Join(f.state, "instance-id")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return uuid, writeWhole(path, []byte(uuid))
	}
	return string(text), err
}
