package launcher

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/vmlaunch/vmlaunch/vsock"
)

// The descriptors that a QEMU inherits besides 0, 1 and 2: exec.Cmd's
// ExtraFiles begin at 3.
const (
	fdQMP   = 3 // a listening Unix socket
	fdVhost = 4 // an open /dev/vhost-vsock that holds the CID

	fdFirstPassed = 5 // the first of those that attempt.pass gives
)

// deviceVsock is the id of the vsock device in QEMU.
const deviceVsock = "vsock0"

// A Plan is everything that a QEMU command line depends on. Paths are absolute.
type Plan struct {
	QEMU string // the binary
	Name string // the machine's
	UUID string

	Board     string // pc or q35
	Accel     string // kvm or tcg
	CPUs      int
	MemoryMiB int
	// SharedMemory makes the guest's memory one that other processes can map: what
	// the daemons of vhost-user devices need.
	SharedMemory bool
	Hugepages    bool // the guest's memory is in huge pages

	Firmware string // a guest that is firmware; excludes Kernel
	Kernel   string
	Initrd   string
	Append   string
	FwCfg    []FwCfg

	Drives []Drive // in the guest's order
	Flash  []Drive // of a UEFI firmware: its code, then its variables
	Shares []Share
	NICs   []NIC // in the guest's order
	TPMFD  int   // of a TPM's control socket, which QEMU inherits; 0 for none

	// OEM are files with one line each that the guest finds in its SMBIOS, as OEM
	// strings: structure type 11.
	OEM []string

	CID vsock.CID

	// ConsoleFD, if not 0, is a descriptor that listens on ConsoleSocket.
	ConsoleSocket string
	ConsoleFD     int
	ConsoleLog    string

	FDSets []FDSet // files that QEMU inherits

	// RebootEnds makes QEMU end where the guest would restart: a kernel that
	// panics while booting is then seen at once, not booted for ever.
	RebootEnds bool

	Extra []string // the user's own arguments, last
}

// A FwCfg is a string that the guest can read by name; see
// docs/specs/fw_cfg.rst in QEMU's source.
type FwCfg struct{ Name, Value string }

// Args returns QEMU's argument vector, without the program's name, for QEMU 6.2
// and later. It is a pure function: the golden files in testdata are its
// documentation.
func Args(p Plan) []string {
	args := []string{
		"-name", "guest=" + option(p.Name),
		"-uuid", p.UUID,
		"-nodefaults", "-no-user-config", "-display", "none",
		// What libvirt denies too, on all versions: QEMU needs none of it once
		// it runs as the user it was started by.
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		// A core of QEMU's is without the guest's memory.
		"-machine", p.Board + ",dump-guest-core=off",
		"-accel", p.Accel,
		"-cpu", "max", // under KVM the same as host
		"-smp", strconv.Itoa(p.CPUs),
		"-m", fmt.Sprintf("size=%dM", p.MemoryMiB),
		"-S", // the guest starts when the launcher is ready for it
	}
	if p.SharedMemory || p.Hugepages {
		args = append(args, "-object", string(text(memory{
			Type: "memory-backend-memfd", ID: "ram", Size: p.MemoryMiB * mib, Share: p.SharedMemory, Hugepages: p.Hugepages,
		})), "-machine", "memory-backend=ram")
	}
	if p.RebootEnds {
		args = append(args, "-action", "reboot=shutdown")
	}
	// The reason of a shutdown goes to the log in no other way: see ending.go.
	args = append(args, "-trace", "enable="+traceShutdown, "-trace", "enable="+traceState)
	args = append(args, fdSetArgs(p.FDSets)...)
	args = append(args,
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d,server=on,wait=off", fdQMP),
		"-mon", "chardev=qmp,mode=control",
		"-chardev", "socket,id=console,"+p.console()+",server=on,wait=off,logfile="+option(p.ConsoleLog),
		"-serial", "chardev:console",
		"-device", device(vsockDevice{
			Driver: "vhost-vsock-pci", ID: deviceVsock,
			// QEMU sets the CID once more: another number would move the claim.
			CID:     uint64(p.CID),
			VhostFD: strconv.Itoa(fdVhost),
		}),
	)
	args = append(args, flashArgs(p.Flash)...)
	args = append(args, driveArgs(p.Drives)...)
	args = append(args, shareArgs(p.Shares)...)
	args = append(args, nicArgs(p.NICs)...)
	args = append(args, tpmArgs(p.TPMFD)...)
	for _, f := range p.FwCfg {
		args = append(args, "-fw_cfg", "name="+option(f.Name)+",string="+option(f.Value))
	}
	for _, path := range p.OEM {
		args = append(args, "-smbios", "type=11,path="+option(path))
	}
	if p.Firmware != "" {
		args = append(args, "-bios", p.Firmware)
	}
	if p.Kernel != "" {
		args = append(args, "-kernel", p.Kernel)
		if p.Initrd != "" {
			args = append(args, "-initrd", p.Initrd)
		}
		args = append(args, "-append", p.Append)
	}
	return append(args, p.Extra...)
}

// console returns where the console listens.
func (p Plan) console() string {
	if p.ConsoleFD != 0 {
		return fmt.Sprintf("fd=%d", p.ConsoleFD)
	}
	return "path=" + option(p.ConsoleSocket)
}

// memory is a backend of the guest's memory; see MemoryBackendMemfdProperties in
// qapi/qom.json of QEMU's source.
type memory struct {
	Type      string `json:"qom-type"`
	ID        string `json:"id"`
	Size      int    `json:"size"` // bytes
	Share     bool   `json:"share"`
	Hugepages bool   `json:"hugetlb,omitempty"`
}

// vsockDevice is a vhost-vsock-pci device; see hw/virtio/vhost-vsock-pci.c in
// QEMU's source.
type vsockDevice struct {
	Driver  string `json:"driver"`
	ID      string `json:"id"`
	CID     uint64 `json:"guest-cid"`
	VhostFD string `json:"vhostfd"`
}

// device returns d in the JSON form of -device, since QEMU 6.2.
func device(d vsockDevice) string {
	text, err := json.Marshal(d)
	if err != nil {
		panic(err) //nolint:forbidigo // strings and numbers only: it can't
	}
	return string(text)
}

// option returns s as a value in one of QEMU's lists of key=value, in which a
// comma ends the value unless it is doubled. It is the only place that does;
// options that take JSON don't need it.
func option(s string) string { return strings.ReplaceAll(s, ",", ",,") }
