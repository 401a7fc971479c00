// Package configs holds the values that say what a user wants: machines for
// now. A value here is the same on every host; nothing in this package looks
// at the host it runs on.
package configs

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// The built-in guests, as values of [Machine.Image].
const (
	ImageLinux = "linux" // a Linux kernel with the guest agent as init
	ImageProbe = "probe" // a 64 KiB firmware image that is a whole vsock guest
)

// The accelerators, as values of [Machine.Accel].
const (
	AccelAuto = "auto" // KVM if it was seen to run a guest, TCG if not
	AccelKVM  = "kvm"
	AccelTCG  = "tcg"
)

// The boards, as values of [Machine.Board]: QEMU's x86 machine types.
const (
	BoardPC  = "pc"
	BoardQ35 = "q35"
)

// The firmwares, as values of [Machine.Firmware].
const (
	FirmwareBIOS = "bios"
	FirmwareUEFI = "uefi" // without Secure Boot
)

// The vsock modes of a namespace, as values of [Machine.Vsock].
const (
	VsockGlobal = "global"
	VsockLocal  = "local"
)

const (
	minMemoryProbeMiB = 2
	minMemoryMiB      = 32      // below this no Linux kernel we know unpacks its initramfs
	maxMemoryMiB      = 4 << 20 // 4 TiB: more is a slip of the finger
	defaultDiskMiB    = 1024    // distributions' images say 512 MiB to 1 GiB is the least
	maxCPUs           = 255     // the pc board's limit

	// defaultReady is long because a stock kernel takes 65 to 150 s to its init
	// under double emulation; a guest that dies is noticed at once all the same.
	defaultReady = 5 * time.Minute
)

// A Machine is the blueprint of one machine. A field left zero means "not
// said"; [Machine.Default] fills in what vmlaunch chooses then.
type Machine struct {
	Name  string `json:"name" yaml:"name"`
	Image string `json:"image,omitempty" yaml:"image,omitempty"` // "linux", "probe" or the path of a disk image

	Kernel string `json:"kernel,omitempty" yaml:"kernel,omitempty"` // a reference of image.Cache.Kernel; of a disk guest "" lets the disk boot itself
	Initrd string `json:"initrd,omitempty" yaml:"initrd,omitempty"` // path of an initramfs; of a disk guest with a kernel only
	Append string `json:"append,omitempty" yaml:"append,omitempty"` // the kernel's command line; the linux guest's is added to

	// The disk that an image is becomes the lowest layer of the machine's own: it is
	// never written.
	DiskSizeMiB int    `json:"disk_size_mib,omitempty" yaml:"disk_size_mib,omitempty"` // of a disk guest; 0 is the image's own size
	Ephemeral   bool   `json:"ephemeral,omitempty" yaml:"ephemeral,omitempty"`         // what a disk guest writes is gone when it stops
	Firmware    string `json:"firmware,omitempty" yaml:"firmware,omitempty"`           // that boots a disk
	TPM         bool   `json:"tpm,omitempty" yaml:"tpm,omitempty"`                     // a TPM 2.0, of software
	DiskBus     string `json:"disk_bus,omitempty" yaml:"disk_bus,omitempty"`
	Disks       []Disk `json:"disks,omitempty" yaml:"disks,omitempty"` // besides the one that is booted

	// What a guest is told when it boots: see firstboot.go.
	User          string       `json:"user,omitempty" yaml:"user,omitempty"`                     // who users are in a disk guest; it is made if it has cloud-init
	SSHKeys       []string     `json:"ssh_keys,omitempty" yaml:"ssh_keys,omitempty"`             // lines for authorized_keys, besides the machine's own
	UserData      string       `json:"user_data,omitempty" yaml:"user_data,omitempty"`           // path of a file for cloud-init, read at each start
	NetworkConfig string       `json:"network_config,omitempty" yaml:"network_config,omitempty"` // the same
	Credentials   []Credential `json:"credentials,omitempty" yaml:"credentials,omitempty"`       // for systemd
	Ready         string       `json:"ready,omitempty" yaml:"ready,omitempty"`                   // what a launch waits for

	Mounts    []Mount `json:"mounts,omitempty" yaml:"mounts,omitempty"`         // folders of the host in the guest
	MountType string  `json:"mount_type,omitempty" yaml:"mount_type,omitempty"` // of all of them; "" is virtiofs where this host can, else 9p

	Networks []Network `json:"networks,omitempty" yaml:"networks,omitempty"` // in the guest's order

	CPUs      int `json:"cpus,omitempty" yaml:"cpus,omitempty"`
	MemoryMiB int `json:"memory_mib,omitempty" yaml:"memory_mib,omitempty"`

	Hugepages bool   `json:"hugepages,omitempty" yaml:"hugepages,omitempty"` // the guest's memory is in huge pages
	Limits    Limits `json:"limits,omitzero" yaml:"limits,omitempty"`
	RunAs     string `json:"run_as,omitempty" yaml:"run_as,omitempty"` // user that QEMU runs as; "" is one of its own if root asks, else who asks

	Netns string `json:"netns,omitempty" yaml:"netns,omitempty"` // name, path, pid:N or container:NAME; "" is the caller's own
	Vsock string `json:"vsock,omitempty" yaml:"vsock,omitempty"` // mode the namespace must have; "" takes it as it is
	CID   uint32 `json:"cid,omitempty" yaml:"cid,omitempty"`     // 0 lets vmlaunch choose

	// CIDRange is what to choose from if CID is 0; zero for what the settings say.
	CIDRange CIDRange `json:"cid_range,omitzero" yaml:"cid_range,omitempty"`
	// Ports are forwards of this host to the machine, see [ParseForward].
	Ports []string `json:"ports,omitempty" yaml:"ports,omitempty"`

	Accel    string   `json:"accel,omitempty" yaml:"accel,omitempty"`
	Board    string   `json:"board,omitempty" yaml:"board,omitempty"`
	QEMU     string   `json:"qemu,omitempty" yaml:"qemu,omitempty"`           // binary: a path, or a name looked up in PATH
	QEMUArgs []string `json:"qemu_args,omitempty" yaml:"qemu_args,omitempty"` // added as they are

	ReadyTimeout Duration `json:"ready_timeout,omitempty" yaml:"ready_timeout,omitempty"`

	Lab     string            `json:"lab,omitempty" yaml:"lab,omitempty"`         // the copy of a lab that it belongs to; "" for none
	Service string            `json:"service,omitempty" yaml:"service,omitempty"` // its name in the lab, and so its host name
	Labels  map[string]string `json:"labels,omitempty" yaml:"labels,omitempty"`
}

// Default fills in what was not said. Calling it twice changes nothing.
func (m *Machine) Default() {
	set(&m.Image, ImageLinux)
	set(&m.CPUs, 1)
	set(&m.DiskBus, BusVirtioBlk)
	set(&m.Firmware, FirmwareBIOS)
	switch m.Guest() {
	case GuestProbe:
		set(&m.MemoryMiB, minMemoryProbeMiB)
	case GuestDisk:
		set(&m.MemoryMiB, defaultDiskMiB)
	default:
		// A stock kernel's ELF image alone takes 60 MiB. Memory that the guest
		// does not touch costs nothing.
		set(&m.MemoryMiB, 256)
	}
	set(&m.Accel, AccelAuto)
	set(&m.Board, BoardPC) // boots faster than q35 under emulation
	set(&m.QEMU, "qemu-system-x86_64")
	m.defaultFirstBoot()
	m.defaultNetworks()
	set(&m.ReadyTimeout, Duration(defaultReady))
}

func set[T comparable](field *T, v T) {
	var zero T
	if *field == zero {
		*field = v
	}
}

// Validate returns all mistakes of m at once as [Errors], or nil. It expects m
// after [Machine.Default]. Whether what m names exists on this host is not
// asked here.
func (m Machine) Validate() error {
	var errs Errors
	errs.check("name", m.Name, ValidName(m.Name))
	if m.Image == "" || strings.ContainsRune(m.Image, 0) {
		errs.add("image", m.Image, "want linux, probe or a path")
	}
	if strings.ContainsRune(m.Kernel, 0) {
		errs.add("kernel", m.Kernel, "holds a NUL byte")
	}
	m.validateBoot(&errs)
	m.validateDisks(&errs)
	m.validateFirstBoot(&errs)
	m.validateMounts(&errs)
	m.validateNetworks(&errs)
	if m.CPUs < 1 || m.CPUs > maxCPUs {
		errs.add("cpus", fmt.Sprint(m.CPUs), fmt.Sprintf("want 1 to %d", maxCPUs))
	}
	if least := m.leastMemoryMiB(); m.MemoryMiB < least {
		errs.add("memory", fmt.Sprintf("%dM", m.MemoryMiB), fmt.Sprintf("want at least %dM", least))
	} else if m.MemoryMiB > maxMemoryMiB {
		errs.add("memory", fmt.Sprintf("%dM", m.MemoryMiB), fmt.Sprintf("want at most %dM", maxMemoryMiB))
	}
	m.validateResources(&errs)
	errs.check("netns", m.Netns, validNetns(m.Netns))
	errs.oneOf("vsock", m.Vsock, "", VsockGlobal, VsockLocal)
	if c := m.CID; c == 1 || c == 2 || c == 1<<32-1 {
		errs.add("cid", fmt.Sprint(c), "is reserved (want 3 to 4294967294)")
	}
	m.checkPorts(&errs)
	errs.oneOf("accel", m.Accel, AccelAuto, AccelKVM, AccelTCG)
	errs.oneOf("machine", m.Board, BoardPC, BoardQ35)
	if m.QEMU == "" || strings.ContainsRune(m.QEMU, 0) {
		errs.add("qemu", m.QEMU, "want the name or path of a QEMU binary")
	}
	if m.ReadyTimeout <= 0 {
		errs.add("timeout", m.ReadyTimeout.String(), "want more than zero")
	}
	if strings.ContainsAny(m.Append, "\x00\n") {
		errs.add("append", m.Append, "holds a line break or a NUL byte")
	}
	for _, s := range m.QEMUArgs {
		if strings.ContainsAny(s, "\x00\n") {
			errs.add("argument", s, "holds a line break or a NUL byte")
		}
	}
	return errs.orNil()
}

// validateBoot adds what can't be said of this kind of guest to errs.
func (m Machine) validateBoot(errs *Errors) {
	if m.Initrd != "" && (!filepath.IsAbs(m.Initrd) || strings.ContainsRune(m.Initrd, 0)) {
		errs.add("initrd", m.Initrd, "want an absolute path without NUL bytes")
	}
	switch m.Guest() {
	case GuestProbe:
		errs.unwanted("kernel", m.Kernel, "the probe guest has no kernel")
		errs.unwanted("initrd", m.Initrd, "the probe guest has no kernel")
		errs.unwanted("append", m.Append, "the probe guest has no kernel")
		if m.TPM {
			errs.add("tpm", "true", "the probe guest has no use for one")
		}
		if m.CPUs > 1 {
			errs.add("cpus", fmt.Sprint(m.CPUs), "the probe guest uses only one")
		}
	case GuestLinux:
		errs.unwanted("initrd", m.Initrd, "the linux guest has its own")
	case GuestDisk:
		if m.Kernel == "" {
			errs.unwanted("initrd", m.Initrd, "the disk boots its own kernel (name one with --kernel)")
			errs.unwanted("append", m.Append, "the disk boots its own kernel (name one with --kernel)")
		}
	}
}

// checkPorts finds the mistakes in Ports: each one's own, and two that listen in one
// place.
func (m Machine) checkPorts(errs *Errors) {
	listens := make(map[Endpoint]bool)
	for _, s := range m.Ports {
		f, err := ParseForward(s)
		switch {
		case err != nil:
			errs.add("port", s, err.Error())
		case f.Listen.Network == NetworkUnix && !filepath.IsAbs(f.Listen.Path):
			errs.add("port", s, "want an absolute path to listen on")
		case f.Listen.Port != 0 && listens[f.Listen], f.Listen.Path != "" && listens[f.Listen]:
			errs.add("port", s, "another one listens there")
		case m.Image == ImageProbe && f.Target.Network != NetworkVsock:
			errs.add("port", s, "the probe guest has vsock:PORT only")
		}
		listens[f.Listen] = true
	}
}

func (m Machine) leastMemoryMiB() int {
	if m.Image == ImageProbe {
		return minMemoryProbeMiB
	}
	return minMemoryMiB
}

var machineName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// ValidName says what is wrong with s as the name of a machine. Names become
// file names, host names and parts of command lines, hence the narrow set.
func ValidName(s string) error {
	if machineName.MatchString(s) {
		return nil
	}
	return fmt.Errorf("want 1 to 63 of a-z 0-9 . _ - and a letter or digit first")
}

// container is container:NAME or container:RUNTIME/NAME, as netns.Open has it.
var container = regexp.MustCompile(`^container:((podman|docker|nerdctl)/)?[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$`)

// validNetns checks the shape of a reference: NAME, a path, pid:N or
// container:NAME. What it leads to is for netns.Open to find out.
func validNetns(ref string) error {
	switch pid, isPID := strings.CutPrefix(ref, "pid:"); {
	case ref == "":
		return nil
	case strings.ContainsAny(ref, "\x00\n"):
		return fmt.Errorf("holds a line break or a NUL byte")
	case isPID && strings.Trim(pid, "0123456789") != "" || isPID && pid == "":
		return fmt.Errorf("want pid:N")
	case strings.HasPrefix(ref, "container:"):
		if !container.MatchString(ref) {
			return fmt.Errorf("want container:NAME, or container:podman/NAME (or docker, nerdctl)")
		}
	case strings.Contains(ref, "/") && !filepath.IsAbs(ref):
		return fmt.Errorf("want an absolute path, a name, pid:N or container:NAME")
	case ref == "." || ref == "..":
		return fmt.Errorf("want a name, an absolute path, pid:N or container:NAME")
	}
	return nil
}
