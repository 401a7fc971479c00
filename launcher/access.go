package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/vmlaunch/vmlaunch/configs"
)

// Access is what an SSH client of another make needs to enter a machine, once
// it is connected to the machine's SSH port.
type Access struct {
	Machine    string `json:"machine"`
	Host       string `json:"host"` // the name that KnownHosts has the machine's key under
	User       string `json:"user"`
	Identity   string `json:"identity"`    // file with the private key
	KnownHosts string `json:"known_hosts"` // file with the machine's host key, see sshd(8)
}

// Access returns the way into the machine called name, which need not run. It
// fails with [fs.ErrNotExist] if there is no such machine or it was never started,
// and with [errors.ErrUnsupported] for a guest without our keys.
func (l *Launcher) Access(ctx context.Context, name string) (Access, error) {
	m, err := l.record(ctx, name)
	if err != nil {
		return Access{}, err
	}
	if err := checkSSH(m.Spec); err != nil {
		return Access{}, fmt.Errorf("machine %q: %w", name, err)
	}
	f := l.folder(name)
	keys, err := f.readKeys()
	if err != nil {
		return Access{}, fmt.Errorf("machine %q: %w", name, err)
	}
	a := Access{Machine: name, Host: name + ".vmlaunch", User: m.Spec.Login(), Identity: f.clientKey(), KnownHosts: f.knownHosts()}
	// A machine that an earlier vmlaunch made has no such file.
	if _, err := os.Stat(a.KnownHosts); errors.Is(err, fs.ErrNotExist) {
		if err := writeWhole(a.KnownHosts, []byte(a.Host+" "+keys.HostPub+"\n")); err != nil {
			return Access{}, fmt.Errorf("machine %q: %w", name, err)
		}
	}
	return a, nil
}

// checkSSH fails with a [*MissingError] for guests that nobody can enter.
func checkSSH(spec configs.Machine) error {
	if spec.Guest() == configs.GuestProbe {
		return &MissingError{What: "SSH server in a probe guest", Need: "run programs in it"}
	}
	return nil
}
