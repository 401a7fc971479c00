package launcher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/vmlaunch/vmlaunch/guest"
)

// maxSocketPath is the longest path of a Unix socket: sun_path of unix(7) is
// 108 bytes with the NUL at its end.
const maxSocketPath = 107

// A folder is the two places of one machine: run, which is worthless when its
// QEMU is gone, and state, which lasts until the machine is removed. Both are
// for this user only (0700).
type folder struct{ run, state string }

func (f folder) qmp() string     { return filepath.Join(f.run, "qmp.sock") }
func (f folder) console() string { return filepath.Join(f.run, "console.sock") }
func (f folder) initrd() string  { return filepath.Join(f.run, "initrd") }

// overlay is what a disk guest writes into.
func (f folder) overlay(ephemeral bool) string { return f.lasting(ephemeral, "disk.qcow2") }

// nvram is where a UEFI firmware keeps its variables.
func (f folder) nvram(ephemeral bool) string { return f.lasting(ephemeral, "nvram.qcow2") }

// base tells what the image below the overlay was like.
func (f folder) base() string { return filepath.Join(f.state, "base.json") }

// tpm is the folder where a TPM keeps its state.
func (f folder) tpm(ephemeral bool) string { return f.lasting(ephemeral, "tpm") }

// lasting returns the place of a file that lasts as long as the machine, or with
// ephemeral as long as its QEMU.
func (f folder) lasting(ephemeral bool, name string) string {
	if ephemeral {
		return filepath.Join(f.run, name)
	}
	return filepath.Join(f.state, name)
}

// credential is the file that QEMU takes a guest's credential from.
func (f folder) credential(name string) string { return filepath.Join(f.run, "credentials", name) }

// seed is the disk that cloud-init reads.
func (f folder) seed() string { return filepath.Join(f.run, "seed.iso") }

// marker is the file by which a folder in the run directory is known to be a
// machine's. It holds the machine's UUID.
func (f folder) marker() string { return filepath.Join(f.run, "uuid") }

// ports is the file that says where the machine's ports are, those included that the
// system chose.
func (f folder) ports() string { return filepath.Join(f.run, "ports") }

func (f folder) consoleLog() string { return filepath.Join(f.state, "console.log") }
func (f folder) qemuLog() string    { return filepath.Join(f.state, "qemu.log") }

// daemonLog is where the daemon called name writes, of this run only.
func (f folder) daemonLog(name string) string { return filepath.Join(f.state, name+".log") }

func (f folder) clientKey() string { return filepath.Join(f.state, "id_ed25519") }
func (f folder) hostKey() string   { return filepath.Join(f.state, "host_ed25519") }

// knownHosts is for other SSH clients than ours.
func (f folder) knownHosts() string { return filepath.Join(f.state, "known_hosts") }

// Logs are the paths of a machine's logs. A file that was never written does
// not exist.
type Logs struct {
	Console, ConsolePrevious string // what the guest wrote to its serial port, this time and last time
	QEMU, QEMUPrevious       string // what QEMU itself said
}

// Logs returns where the machine called name keeps its logs. It does not ask
// whether there is such a machine.
func (l *Launcher) Logs(name string) Logs {
	f := l.folder(name)
	return Logs{
		Console: f.consoleLog(), ConsolePrevious: previous(f.consoleLog()),
		QEMU: f.qemuLog(), QEMUPrevious: previous(f.qemuLog()),
	}
}

func previous(log string) string { return log + ".1" }

// checkSockets fails if a socket's path is longer than the kernel takes.
func (f folder) checkSockets() error {
	if long := f.console(); len(long) > maxSocketPath {
		return fmt.Errorf("socket %s: path of %d bytes, want at most %d (use a shorter --root or name)",
			long, len(long), maxSocketPath)
	}
	return nil
}

// makeRun makes an empty run folder and its marker. It replaces what a QEMU
// that is gone left there.
func (f folder) makeRun(uuid string) error {
	if err := f.removeRun(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.run), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(f.run, 0o700); err != nil {
		return err
	}
	return os.WriteFile(f.marker(), []byte(uuid), 0o600)
}

// removeRun removes the run folder, if it is a machine's; none is fine.
func (f folder) removeRun() error {
	if _, err := os.Stat(f.marker()); errors.Is(err, fs.ErrNotExist) {
		err := os.Remove(f.run) // made, but not marked yet
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return os.RemoveAll(f.run)
}

// makeState makes the state folder and reports whether it was not there.
func (f folder) makeState() (made bool, err error) {
	if err := os.MkdirAll(filepath.Dir(f.state), 0o700); err != nil {
		return false, err
	}
	err = os.Mkdir(f.state, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}

func (f folder) removeState() error { return os.RemoveAll(f.state) }

// rotate keeps the logs of the run before this one, and no older ones.
func (f folder) rotate() error {
	for _, log := range []string{f.consoleLog(), f.qemuLog()} {
		if err := os.Rename(log, previous(log)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// keys returns the machine's keys. They are made once and kept: a restarted
// machine has the identity it had.
func (f folder) keys() (guest.Keys, error) {
	k, err := f.readKeys()
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if k, err = guest.NewKeys(); err != nil {
		return guest.Keys{}, err
	}
	for _, file := range []struct {
		path string
		text []byte
	}{
		{f.clientKey(), k.Client},
		{f.clientKey() + ".pub", []byte(k.ClientPub + "\n")},
		{f.hostKey() + ".pub", []byte(k.HostPub + "\n")},
		{f.hostKey(), k.Host}, // the last one: with it the set is complete
	} {
		if err := os.WriteFile(file.path, file.text, 0o600); err != nil {
			return guest.Keys{}, err
		}
	}
	return k, nil
}

// readKeys fails with [fs.ErrNotExist] if the keys were never made completely.
func (f folder) readKeys() (guest.Keys, error) {
	var k guest.Keys
	var pub, hostPub []byte
	for _, file := range []struct {
		path string
		text *[]byte
	}{
		{f.hostKey(), &k.Host}, {f.hostKey() + ".pub", &hostPub},
		{f.clientKey(), &k.Client}, {f.clientKey() + ".pub", &pub},
	} {
		b, err := os.ReadFile(file.path)
		if err != nil {
			return guest.Keys{}, fmt.Errorf("read keys: %w", err)
		}
		*file.text = b
	}
	k.ClientPub, k.HostPub = line(pub), line(hostPub)
	return k, nil
}
