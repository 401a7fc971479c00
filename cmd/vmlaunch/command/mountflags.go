package command

import (
	"errors"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/vmlaunch/vmlaunch/configs"
)

// addMounts adds the flags about folders of the host.
func (f *machineFlags) addMounts(fs *pflag.FlagSet) {
	fs.StringArrayVar(&f.mounts, "mount", nil, "a folder of this host in the guest, `HOST:GUEST[:ro]`; may be repeated")
	fs.StringVar(&f.spec.MountType, "mount-type", "", "how folders get into the guest, `TYPE`: virtiofs (default where this host can) or 9p")
}

// parseMounts puts what the flags say about folders into m. It fails with every
// mistake at once.
func (f *machineFlags) parseMounts(m *configs.Machine) error {
	var errs []error
	for _, text := range f.mounts {
		mount, err := configs.ParseMount(text)
		if err == nil {
			mount.Host, err = filepath.Abs(mount.Host)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		m.Mounts = append(m.Mounts, mount)
	}
	return errors.Join(errs...)
}
