package launcher

import (
	"context"
	"slices"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/image"
)

const mib = 1 << 20

// disks are the disk images of a machine as they were found on this host.
type disks struct {
	base  image.Disk   // of a disk guest, never written
	extra []image.Disk // those of the spec, in its order
	uefi  image.Firmware
}

// resolveDisks looks at all disk images that spec names.
func resolveDisks(spec configs.Machine) (d disks, err error) {
	if spec.Guest() == configs.GuestDisk {
		if err := image.CheckTools(); err != nil {
			return disks{}, err
		}
		if d.base, err = image.OpenDisk(spec.Image, ""); err != nil {
			return disks{}, err
		}
		if spec.Firmware == configs.FirmwareUEFI {
			if d.uefi, err = image.FindUEFI(spec.Board); err != nil {
				return disks{}, err
			}
		}
		if err := d.base.CheckSize(int64(spec.DiskSizeMiB) * mib); err != nil {
			return disks{}, err
		}
	}
	for _, s := range spec.Disks {
		e, err := image.OpenDisk(s.Path, s.Format)
		if err == nil && s.Format == "" && e.Backing != nil {
			// Whatever a guest has on a raw disk, it may have written itself.
			err = &image.DiskError{Path: s.Path, Why: "names another image below it, which a guest can have written", Hint: "if you made it so: --disk format=qcow2:PATH"}
		}
		if err != nil {
			return disks{}, err
		}
		d.extra = append(d.extra, e)
	}
	return d, nil
}

// settled returns the disks of a spec with what was found out about them. A disk
// that was raw once is raw for this machine ever after, whatever the guest writes
// to its beginning.
func (d disks) settled(said []configs.Disk) []configs.Disk {
	all := slices.Clone(said)
	for i := range all {
		all[i].Format = d.extra[i].Format
	}
	return all
}

// likeDisks returns what is said of disks, with the formats that are not said
// taken from what there is.
func likeDisks(said, have []configs.Disk) []configs.Disk {
	all := slices.Clone(said)
	for i := range all {
		if i < len(have) && all[i].Format == "" {
			all[i].Format = have[i].Format
		}
	}
	return all
}

// makeDisk makes the layer that a disk guest writes into, and the variables of its
// firmware: in the state folder, where it lasts until the machine is removed, or in
// the run folder, which goes when the machine is down. It fails with an
// [*ImageInUseError] if one of the machine's images can't be had, and with an
// [*image.DiskError] if the one below has changed.
func (a *attempt) makeDisk(ctx context.Context) error {
	spec := a.rec.Spec
	if err := checkHolders(planDrives(spec, a.host.disks, a.files)); err != nil || spec.Guest() != configs.GuestDisk {
		return err
	}
	if !spec.Ephemeral {
		if err := a.files.checkBase(a.host.disks.base); err != nil {
			return err
		}
	}
	if spec.Firmware == configs.FirmwareUEFI {
		if err := image.CreateNVRAM(ctx, a.files.nvram(spec.Ephemeral), a.host.disks.uefi.Vars); err != nil {
			return err
		}
	}
	return image.CreateOverlay(ctx, a.files.overlay(spec.Ephemeral), a.host.disks.base, int64(spec.DiskSizeMiB)*mib)
}

// planDrives returns the drives of a machine. It is a pure function.
func planDrives(spec configs.Machine, d disks, f folder) []Drive {
	var drives []Drive
	if spec.Guest() == configs.GuestDisk {
		overlay := Layer{Path: f.overlay(spec.Ephemeral), Format: configs.FormatQCOW2}
		drives = append(drives, Drive{
			Node: nodeMachine, Layers: append([]Layer{overlay}, layers(d.base)...),
			Bus: spec.DiskBus, Boot: 1, Volatile: spec.Ephemeral,
		})
	}
	for i, s := range spec.Disks {
		bus := s.Bus
		if bus == "" {
			bus = spec.DiskBus
		}
		drives = append(drives, Drive{
			Node: nodeExtra(i), Layers: layers(d.extra[i]),
			ReadOnly: s.ReadOnly, Bus: bus, Serial: s.Serial,
		})
	}
	return drives
}

// planFlash returns the flash devices of a machine's firmware. It is a pure function.
func planFlash(spec configs.Machine, d disks, f folder) []Drive {
	if spec.Firmware != configs.FirmwareUEFI {
		return nil
	}
	return []Drive{
		{Node: nodeCode, Layers: []Layer{{Path: d.uefi.Code.Path, Format: d.uefi.Code.Format}}, ReadOnly: true},
		{Node: nodeVars, Layers: []Layer{{Path: f.nvram(spec.Ephemeral), Format: configs.FormatQCOW2}}, Volatile: spec.Ephemeral},
	}
}

// layers returns a disk image and those below it.
func layers(d image.Disk) []Layer {
	all := []Layer{{Path: d.Path, Format: d.Format, Device: d.Device}}
	if d.Backing != nil {
		all = append(all, layers(*d.Backing)...)
	}
	return all
}
