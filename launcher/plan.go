package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/image"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

const (
	vhostDevice = "/dev/vhost-vsock"

	// appendLinux is what the built-in linux guest needs on its command line.
	// With panic=-1 a panic is a reboot at once, which QEMU reports. The timer
	// check waits for ticks in real time: a guest on a busy host fails it and hangs
	// (Linux itself leaves it out under KVM, see arch/x86/kernel/kvm.c).
	appendLinux = "console=ttyS0 panic=-1 quiet no_timer_check"
)

// The names under which the probe guest reads what it is told; see
// image/probe/PROTOCOL.md.
const (
	fwCfgName   = "opt/vmlaunch/name"
	fwCfgNotify = "opt/vmlaunch/notify"
	fwCfgToken  = "opt/vmlaunch/token"
)

// host is what a spec turned out to mean on this host.
type host struct {
	qemu  string // absolute path of the binary
	accel Accel
	boot  image.Boot // of a linux guest, or of a disk guest with a kernel of its own
	disks disks
	probe string // firmware of a probe guest
	first firstBoot

	mounts   mounts
	swtpm    string // the program; "" for a machine without a TPM
	tpmFD    int    // by which QEMU will have the TPM; the first one before it has been passed
	accounts accounts
	nets     nets
}

// resolve looks up everything that spec names and this host must have for a
// launch, before anything is changed. All mistakes of the spec come at once, and
// so do all things the host lacks.
func (l *Launcher) resolve(ctx context.Context, spec configs.Machine) (host, error) {
	if err := spec.Validate(); err != nil {
		return host{}, err
	}
	lacks := []error{l.cids.check()}
	if spec.Vsock == configs.VsockLocal {
		lacks = append(lacks, checkModes())
	}
	h, err := l.resolveQEMU(ctx, spec, errors.Join(lacks...))
	return h, err
}

// resolveQEMU is the part of resolve that QEMU's command line needs. Lacks is
// what is known to be missing already: with it, only what is quick is looked up.
func (l *Launcher) resolveQEMU(ctx context.Context, spec configs.Machine, lacks error) (h host, err error) {
	h.qemu, err = findQEMU(spec.QEMU)
	accounts, uerr := resolveAccount(spec.RunAs, os.Geteuid())
	h.accounts = accounts
	err = errors.Join(lacks, checkImage(spec.Image), l.folder(spec.Name).checkSockets(), err, uerr, checkLimits(spec.Limits), checkMemory(spec))
	if err != nil {
		return host{}, err
	}
	h.accel, err = l.chooseAccel(ctx, h.qemu, spec.Accel)
	err = errors.Join(err, l.resolveImage(ctx, spec, &h))
	if opensFolders(h.mounts.shares) {
		h.accounts.own = false
	}
	return h, err
}

func (l *Launcher) resolveImage(ctx context.Context, spec configs.Machine, h *host) error {
	var err error
	if h.disks, err = resolveDisks(spec); err != nil {
		return err
	}
	if h.first, err = resolveFirstBoot(spec); err != nil {
		return err
	}
	if spec.TPM {
		if h.swtpm, err = findSWTPM(); err != nil {
			return err
		}
		h.tpmFD = fdFirstPassed
	}
	if h.mounts, err = resolveMounts(ctx, spec); err != nil {
		return err
	}
	if h.nets, err = resolveNets(spec); err != nil {
		return err
	}
	if spec.Guest() == configs.GuestDisk {
		h.first.mount(h.mounts.shares)
	}
	switch g := spec.Guest(); {
	case g == configs.GuestProbe:
		rom, err := l.Cache.Probe(ctx)
		h.probe = rom
		return err
	case g == configs.GuestDisk && spec.Kernel == "":
		return nil
	}
	kernel, err := l.Cache.Kernel(ctx, spec.Kernel)
	if err != nil {
		return err
	}
	if spec.Guest() == configs.GuestDisk {
		h.boot = image.Boot{Kernel: kernel.Path, Initrd: spec.Initrd}
		return checkFile("initrd", spec.Initrd)
	}
	h.boot, err = l.Cache.Linux(ctx, kernel, append(shareModules(h.mounts.shares), nicModules(spec)...)...)
	if errors.Is(err, fs.ErrNotExist) && len(h.mounts.shares) > 0 {
		err = fmt.Errorf("%w (mount with another --mount-type, or take another --kernel)", err)
	}
	return err
}

// checkImage looks whether there is such an image at all, which is quick.
func checkImage(ref string) error {
	switch {
	case ref == configs.ImageLinux || ref == configs.ImageProbe:
		return nil
	case !strings.Contains(ref, "/"):
		return fmt.Errorf("image %q: %w (there are: linux, probe, and the paths of disk images)", ref, fs.ErrNotExist)
	}
	return checkFile("image", ref)
}

// checkFile looks whether there is a file; none need be named.
func checkFile(what, path string) error {
	if path == "" {
		return nil
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("%s %q: %w", what, path, bare(err))
	}
	return nil
}

// checkVhost opens the device once, as the claim will: that also loads the
// module where the device's node is there without it.
func checkVhost() error {
	f, err := os.OpenFile(vhostDevice, os.O_RDWR, 0)
	switch {
	case err == nil:
		return f.Close()
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("open %s: %w (run as root, or join the group that owns it)", vhostDevice, bare(err))
	}
	return &MissingError{What: vhostDevice, Need: "give a guest its vsock", Hint: "try: modprobe vhost_vsock, or --nest"}
}

func checkModes() error {
	has, err := vsock.Modes()
	if err != nil {
		return err
	}
	if !has {
		return &MissingError{What: "vsock namespaces in this kernel", Need: "have --vsock local", Hint: "needs Linux 7.0 or later, or --nest"}
	}
	return nil
}

func findQEMU(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		if !strings.Contains(name, "/") {
			return "", &MissingError{What: name, Need: "run machines", Hint: "try: apt-get install qemu-system-x86"}
		}
		return "", fmt.Errorf("qemu %q: %w", name, bare(err))
	}
	return filepath.Abs(path)
}

// bare returns the cause of an error of package os or exec without the names it
// repeats.
func bare(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*exec.Error](err); ok {
		return bare(e.Err)
	}
	return err
}

// plan turns a record and what the host has into a QEMU to start. It looks at
// nothing else.
func plan(m store.Machine, h host, f folder, rebootEnds bool) Plan {
	p := Plan{
		QEMU: h.qemu, Name: m.Name, UUID: m.UUID,
		Board: m.Spec.Board, Accel: h.accel.Name, CPUs: m.Spec.CPUs, MemoryMiB: m.Spec.MemoryMiB, Hugepages: m.Spec.Hugepages,
		CID:           m.CID,
		ConsoleSocket: f.console(), ConsoleLog: f.consoleLog(),
		Drives: append(planDrives(m.Spec, h.disks, f), planSeed(m.Spec, f)...),
		Flash:  planFlash(m.Spec, h.disks, f),
		TPMFD:  h.tpmFD,
		OEM:    planCredentials(m, h.first, f),
		Shares: h.mounts.shares, SharedMemory: sharedByDaemon(h.mounts.shares),
		NICs: planNICs(m, h.nets), Extra: m.Spec.QEMUArgs,
	}
	switch m.Spec.Guest() {
	case configs.GuestProbe:
		p.Firmware = h.probe
		p.FwCfg = []FwCfg{{fwCfgName, m.Name}, {fwCfgToken, m.UUID}}
		if m.NotifyPort != 0 {
			p.FwCfg = append(p.FwCfg, FwCfg{fwCfgNotify, fmt.Sprintf("%d:%d", vsock.Host, m.NotifyPort)})
		}
	case configs.GuestDisk: // its restarts are its own affair: installers do
		p.Kernel, p.Initrd, p.Append = h.boot.Kernel, h.boot.Initrd, m.Spec.Append
	default:
		p.Kernel, p.Initrd = h.boot.Kernel, f.initrd()
		p.Append = strings.TrimSpace(appendLinux + " " + m.Spec.Append)
		p.RebootEnds = rebootEnds
	}
	return p
}
