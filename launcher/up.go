package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// Up brings the machine that spec describes up from wherever it is: it is
// launched, or started if it is down, or waited for if it is on its way; one
// that is up stays as it is. A field of spec that is zero is not said and is
// taken as it was. Up fails with a [*SpecError] if the machine exists and differs from
// what is said, and as [Launcher.Launch] and [Launcher.Start] do.
func (l *Launcher) Up(ctx context.Context, spec configs.Machine, opts ...Option) (store.Machine, error) {
	m, err := l.record(ctx, spec.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return l.Launch(ctx, spec, opts...)
	}
	if err != nil {
		return store.Machine{}, err
	}
	if d := differences(m, spec); len(d) > 0 {
		return store.Machine{}, &SpecError{Name: m.Name, Fields: d}
	}
	if v := l.look(ctx, m, l.atWork(m.Name)); v.State.down() {
		return l.Start(ctx, m.Name, opts...)
	}
	if gather(opts).detached || !m.Spec.Awaited() {
		return l.waitUp(ctx, m.Name)
	}
	limit, cancel := context.WithTimeout(ctx, time.Duration(m.Spec.ReadyTimeout))
	defer cancel()
	if err := l.Wait(limit, m.Name, ForReady); err != nil {
		return store.Machine{}, err
	}
	return l.record(ctx, m.Name)
}

// differences names the fields in which the machine that there is differs from
// what is said. Fields that are not said differ from nothing, and what was
// chosen when it was made counts as if it had been said then.
func differences(m store.Machine, said configs.Machine) []string {
	have := m.Spec
	if have.CID == 0 {
		have.CID = uint32(m.CID)
	}
	if have.Vsock == "" && m.Netns.Mode != 0 {
		have.Vsock = m.Netns.Mode.String()
	}
	var d []string
	compare := func(field string, have, said any, zero bool) {
		if !zero && have != said {
			d = append(d, fmt.Sprintf("%s (%v, want %v)", field, have, said))
		}
	}
	compare("image", have.Image, said.Image, said.Image == "")
	compare("kernel", have.Kernel, said.Kernel, said.Kernel == "")
	compare("append", have.Append, said.Append, said.Append == "")
	compare("initrd", have.Initrd, said.Initrd, said.Initrd == "")
	compare("disk size", fmt.Sprintf("%dM", have.DiskSizeMiB), fmt.Sprintf("%dM", said.DiskSizeMiB), said.DiskSizeMiB == 0)
	compare("ephemeral", have.Ephemeral, said.Ephemeral, !said.Ephemeral)
	compare("firmware", have.Firmware, said.Firmware, said.Firmware == "")
	compare("tpm", have.TPM, said.TPM, !said.TPM)
	compare("disk bus", have.DiskBus, said.DiskBus, said.DiskBus == "")
	compare("disks", fmt.Sprint(have.Disks), fmt.Sprint(likeDisks(said.Disks, have.Disks)), len(said.Disks) == 0)
	compare("user", have.Login(), said.Login(), said.User == "")
	compare("ssh keys", fmt.Sprintf("%q", have.SSHKeys), fmt.Sprintf("%q", said.SSHKeys), len(said.SSHKeys) == 0)
	compare("user data", have.UserData, said.UserData, said.UserData == "")
	compare("network config", have.NetworkConfig, said.NetworkConfig, said.NetworkConfig == "")
	if len(said.Credentials) > 0 && !slices.Equal(have.Credentials, said.Credentials) {
		d = append(d, "credentials") // what they say may be secret
	}
	compare("ready", have.Ready, said.Ready, said.Ready == "")
	compare("networks", fmt.Sprint(have.Nets()), fmt.Sprint(said.Nets()), len(said.Networks) == 0)
	compare("mounts", fmt.Sprint(have.Mounts), fmt.Sprint(said.Mounts), len(said.Mounts) == 0)
	compare("mount type", have.MountType, said.MountType, said.MountType == "")
	compare("cpus", have.CPUs, said.CPUs, said.CPUs == 0)
	compare("memory", fmt.Sprintf("%dM", have.MemoryMiB), fmt.Sprintf("%dM", said.MemoryMiB), said.MemoryMiB == 0)
	compare("hugepages", have.Hugepages, said.Hugepages, !said.Hugepages)
	compare("limits", have.Limits, said.Limits, said.Limits == configs.Limits{})
	compare("run as", have.RunAs, said.RunAs, said.RunAs == "")
	compare("netns", have.Netns, said.Netns, said.Netns == "")
	compare("vsock", have.Vsock, said.Vsock, said.Vsock == "")
	compare("cid", have.CID, said.CID, said.CID == 0)
	compare("accel", have.Accel, said.Accel, said.Accel == "")
	compare("machine", have.Board, said.Board, said.Board == "")
	compare("qemu", have.QEMU, said.QEMU, said.QEMU == "")
	if len(said.Ports) > 0 && !slices.Equal(have.Ports, said.Ports) {
		d = append(d, fmt.Sprintf("ports (%q, want %q)", have.Ports, said.Ports))
	}
	if len(said.QEMUArgs) > 0 && !slices.Equal(have.QEMUArgs, said.QEMUArgs) {
		d = append(d, fmt.Sprintf("qemu arguments (%q, want %q)", have.QEMUArgs, said.QEMUArgs))
	}
	return d
}

// CommandLine returns the command line that a launch of spec would start QEMU
// with. Nothing is claimed, made or recorded for it, except in the cache. A CID
// that is not said is 0 in it: it is chosen when it is taken. CommandLine fails with
// [configs.Errors], if there is no such image, and without QEMU; a device for
// vsock need not be there.
func (l *Launcher) CommandLine(ctx context.Context, spec configs.Machine) ([]string, error) {
	spec.Default()
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	h, err := l.resolveQEMU(ctx, spec, nil)
	if err != nil {
		return nil, err
	}
	m := store.Machine{Name: spec.Name, UUID: newUUID(), Spec: spec, CID: vsock.CID(spec.CID)}
	p := plan(m, h, l.folder(spec.Name), false)
	return append([]string{p.QEMU}, Args(p)...), nil
}
