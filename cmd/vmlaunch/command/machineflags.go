package command

import (
	"errors"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// defaultMachine is the machine that `up` and `run` are about when none is named.
const defaultMachine = "dev"

// machineFlags are the flags that describe a machine, for up and run.
type machineFlags struct {
	spec    configs.Machine
	memory  string
	cid     string
	timeout time.Duration
	flags   map[string]bool // the names of them all

	diskSize string
	disks    []string

	firstBoot firstBootFlags
	resources resourceFlags
	mounts    []string
	networks  []string
	ports     []string
}

func (f *machineFlags) add(cmd *cobra.Command) {
	fs, m := cmd.Flags(), &f.spec
	fs.SortFlags = false
	before := map[string]bool{}
	fs.VisitAll(func(one *pflag.Flag) { before[one.Name] = true })
	defer func() {
		f.flags = map[string]bool{}
		fs.VisitAll(func(one *pflag.Flag) { f.flags[one.Name] = !before[one.Name] })
	}()
	fs.StringVar(&m.Image, "image", "", "`IMAGE`: linux (default), probe, the path of a disk image, or the name of one that was pulled or is in the catalog")
	fs.StringVar(&m.Kernel, "kernel", "", "kernel `REF`: host, light, distro:7.3, or a path (a disk boots its own unless told)")
	fs.StringVar(&m.Initrd, "initrd", "", "initramfs `FILE` for the kernel of a disk guest")
	fs.StringVar(&m.Append, "append", "", "`WORDS` added to the kernel's command line")
	f.addDisks(fs)
	f.addFirstBoot(fs)
	f.addMounts(fs)
	f.addNetworks(fs)
	fs.IntVar(&m.CPUs, "cpus", 0, "`N` virtual CPUs (default 1)")
	fs.StringVar(&f.memory, "memory", "", "memory, `SIZE` such as 512M or 2G")
	f.addResources(fs)
	fs.StringVar(&m.Netns, "netns", "", "network namespace `NS`: a name, a path, pid:N or container:NAME (default: this one)")
	fs.StringVar(&m.Vsock, "vsock", "", "vsock `MODE` of the namespace, global or local; makes the namespace if there is none")
	fs.StringVar(&f.cid, "cid", "", "vsock context ID `N`, in or outside cid.range (default: one of the range that is free)")
	fs.StringArrayVar(&f.ports, "publish", nil, "let a port of this host lead into the machine, `LISTEN:TARGET` as 8080:80 (see port-forward); may be repeated")
	fs.StringVar(&m.Accel, "accel", "", "auto (default), kvm or tcg")
	fs.StringVar(&m.Board, "machine", "", "QEMU's `BOARD`: pc (default) or q35")
	fs.StringVar(&m.QEMU, "qemu", "", "another QEMU: name or `PATH`")
	fs.StringArrayVar(&m.QEMUArgs, "qemu-arg", nil, "one more `WORD` for QEMU's command line, as it is; may be repeated")
	fs.DurationVar(&f.timeout, "timeout", 0, "how long to wait for ready (default 5m)")
	complete(cmd, "image", configs.ImageLinux, configs.ImageProbe)
	complete(cmd, "firmware", configs.FirmwareBIOS, configs.FirmwareUEFI)
	complete(cmd, "mount-type", configs.MountVirtiofs, configs.Mount9p)
	complete(cmd, "disk-bus", configs.BusVirtioBlk, configs.BusVirtioSCSI)
	complete(cmd, "ready", configs.ReadyNotify, configs.ReadySSH, configs.ReadyNone)
	complete(cmd, "vsock", configs.VsockGlobal, configs.VsockLocal)
	complete(cmd, "accel", configs.AccelAuto, configs.AccelKVM, configs.AccelTCG)
	complete(cmd, "machine", configs.BoardPC, configs.BoardQ35)
	completeWith(cmd, "netns", namespaceNames)
}

// blueprint returns what the flags say about the machine called name. What was
// not said stays zero. It fails with every mistake at once that Default would
// paper over; the others are for Validate.
func (f *machineFlags) blueprint(cmd *cobra.Command, name string) (configs.Machine, error) {
	m := f.spec
	m.Name = name
	var errs []error
	changed := cmd.Flags().Changed
	if changed("memory") {
		mib, err := parseMemory(f.memory)
		m.MemoryMiB = mib
		errs = append(errs, err)
	}
	if changed("cpus") && m.CPUs < 1 {
		errs = append(errs, usagef("cpus %d: want at least 1", m.CPUs))
	}
	if changed("timeout") {
		m.ReadyTimeout = configs.Duration(f.timeout)
		if f.timeout <= 0 {
			errs = append(errs, usagef("timeout %s: want more than zero", f.timeout))
		}
	}
	if changed("cid") {
		cid, err := vsock.ParseCID(f.cid)
		m.CID = uint32(cid)
		errs = append(errs, err)
	}
	errs = append(errs, f.parseDisks(cmd, &m), f.parseFirstBoot(&m), f.parseResources(cmd.Flags(), &m), f.parseMounts(&m), f.parseNetworks(&m))
	forwards, err := parseForwards(f.ports)
	errs = append(errs, err)
	m.Ports = nil
	for _, one := range forwards {
		m.Ports = append(m.Ports, one.String())
	}
	for _, path := range []*string{&m.Image, &m.Kernel, &m.QEMU} {
		abs, err := absolute(*path)
		*path = abs
		errs = append(errs, err)
	}
	full := m
	full.Default()
	errs = append(errs, full.Validate())
	if err := errors.Join(errs...); err != nil {
		return m, &usageError{err}
	}
	return m, nil
}

// nameOrDefault returns the machine that args name.
func nameOrDefault(args []string) string {
	if len(args) == 0 {
		return defaultMachine
	}
	return args[0]
}

// parseMemory reads a size of at least 1 MiB. It fails with [ErrUsage].
func parseMemory(text string) (mib int, err error) {
	if mib, err = configs.ParseMemory(text); err != nil {
		return 0, &usageError{err}
	}
	if mib < 1 {
		return 0, usagef("memory %q: want at least 1M", text)
	}
	return mib, nil
}
