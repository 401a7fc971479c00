package command

import (
	"errors"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vmlaunch/vmlaunch/configs"
)

// addDisks adds the flags about disks.
func (f *machineFlags) addDisks(fs *pflag.FlagSet) {
	m := &f.spec
	fs.StringVar(&f.diskSize, "disk-size", "", "grow the machine's disk to `SIZE`, such as 20G; its image stays as it is")
	fs.BoolVar(&m.Ephemeral, "ephemeral", false, "forget what was written to the machine's disk when it stops")
	fs.StringArrayVar(&f.disks, "disk", nil, "one more disk: `[OPTION,…:]PATH` of an image that the guest writes into; options are ro, format=raw|qcow2, bus=BUS, serial=WORD; may be repeated")
	fs.StringVar(&m.Firmware, "firmware", "", "what boots the machine's disk: bios (default) or uefi")
	fs.BoolVar(&m.TPM, "tpm", false, "give the machine a TPM 2.0, by swtpm")
	fs.StringVar(&m.DiskBus, "disk-bus", "", "`BUS` of disks: virtio-blk (default) or virtio-scsi")
}

// parseDisks puts what the flags say about disks into m. It fails with every
// mistake at once.
func (f *machineFlags) parseDisks(cmd *cobra.Command, m *configs.Machine) error {
	var errs []error
	if cmd.Flags().Changed("disk-size") {
		mib, err := configs.ParseDiskSize(f.diskSize)
		m.DiskSizeMiB = mib
		errs = append(errs, err)
	}
	if m.Initrd != "" { // always a path: there are no initramfs with names
		abs, err := filepath.Abs(m.Initrd)
		m.Initrd = abs
		errs = append(errs, err)
	}
	for _, text := range f.disks {
		d, err := configs.ParseDisk(text)
		if err == nil {
			d.Path, err = filepath.Abs(d.Path)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		m.Disks = append(m.Disks, d)
	}
	return errors.Join(errs...)
}
