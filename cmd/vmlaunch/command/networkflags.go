package command

import (
	"errors"

	"github.com/spf13/pflag"

	"github.com/vmlaunch/vmlaunch/configs"
)

// addNetworks adds the flag about networks.
func (f *machineFlags) addNetworks(fs *pflag.FlagSet) {
	fs.StringArrayVar(&f.networks, "net", nil, "one network device, `KIND[=NAME][,OPTION…]`: none (default but for disks), user (default for disks), passt, bridge, bridge=NAME, tap=NAME; options are mac=MAC, address=IP/BITS, gateway=IP, host; may be repeated")
}

// parseNetworks puts what the flags say about networks into m. It fails with
// every mistake at once.
func (f *machineFlags) parseNetworks(m *configs.Machine) error {
	var errs []error
	for _, text := range f.networks {
		n, err := configs.ParseNetwork(text)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		m.Networks = append(m.Networks, n)
	}
	return errors.Join(errs...)
}
