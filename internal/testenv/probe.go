package testenv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// LightKernel is the environment variable with the path of the light kernel.
const LightKernel = "VMLAUNCH_TEST_LIGHT"

// DistroFolder is the environment variable with the folder of a stock
// distribution: disk.qcow2, vmlinuz and initrd.img.
const DistroFolder = "VMLAUNCH_TEST_DISTRO"

const vhostVsock = "/dev/vhost-vsock"

// nsMode tells by its presence that namespaces have a vsock mode.
const nsMode = "/proc/sys/net/vsock/ns_mode"

// Binary returns the vmlaunch under test: VMLAUNCH_BINARY, or the one in PATH.
func Binary() string {
	if path := os.Getenv("VMLAUNCH_BINARY"); path != "" {
		return path
	}
	return "vmlaunch"
}

// probe returns why the host does not meet n, or nil if it does.
func (n Need) probe(promised []Need) error {
	switch n {
	case Root:
		return probeRoot()
	case SSH:
		_, scp := exec.LookPath("scp")
		_, sftp := exec.LookPath("sftp")
		return errors.Join(exec.Command("ssh", "-V").Run(), scp, sftp)
	case UEFI:
		return probeUEFI()
	case SWTPM:
		return exec.Command("swtpm", "--version").Run()
	case Passt:
		_, err := exec.LookPath("passt")
		return err
	case QEMUImg:
		return exec.Command("qemu-img", "--version").Run()
	case QEMU:
		return exec.Command("qemu-system-x86_64", "--version").Run()
	case KVM:
		return probeDevice("/dev/kvm")
	case VhostVsock:
		return probeDevice(vhostVsock)
	case NoVhostVsock:
		return probeAbsent(vhostVsock)
	case VsockModes:
		return probeModes()
	case NoModes:
		return probeNoModes()
	case Nest:
		if !slices.Contains(promised, Nest) {
			return errors.New("not asked for: it boots a machine and takes minutes")
		}
		return exec.Command("qemu-system-x86_64", "--version").Run()
	case Throwaway:
		if !slices.Contains(promised, Throwaway) {
			return errors.New("not asked for: it changes the host until its next boot")
		}
		return nil
	case OwnCID:
		return probeOwnCID()
	case Light:
		return probeFile(LightKernel, "")
	case Distro:
		return probeFile(DistroFolder, "disk.qcow2")
	case Tools:
		return probeTools("ip", "unshare", "nsenter")
	case Virtiofsd:
		return probeAny("virtiofsd", "/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd")
	case Systemd:
		return probeTools("systemd-analyze")
	case Vmlaunch:
		return probeTools(Binary())
	}
	return fmt.Errorf("need %d: no such need", int(n))
}

func probeRoot() error {
	if uid := os.Geteuid(); uid != 0 {
		return fmt.Errorf("effective user is %d, want 0", uid)
	}
	// Root in a container may lack what root is wanted for.
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	const want = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_SYS_ADMIN
	if have := data[0].Effective; have&want != want {
		return fmt.Errorf("capabilities are %#x, want CAP_NET_ADMIN and CAP_SYS_ADMIN", have)
	}
	return nil
}

func probeDevice(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

func probeAbsent(path string) error {
	switch _, err := os.Stat(path); {
	case err == nil:
		return fmt.Errorf("%s is there", path)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	default:
		return err
	}
}

// loadVsock makes the kernel load vsock: making a socket does, opening
// /dev/vsock does not.
func loadVsock() error {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("vsock socket: %w", err)
	}
	return unix.Close(fd)
}

func probeModes() error {
	if err := loadVsock(); err != nil {
		return err
	}
	_, err := os.Stat(nsMode)
	return err
}

func probeNoModes() error {
	if err := loadVsock(); err != nil {
		return err
	}
	return probeAbsent(nsMode)
}

// probeOwnCID asks the kernel for this side's CID; a guest's is above the host's, 2.
func probeOwnCID() error {
	if err := loadVsock(); err != nil {
		return err
	}
	f, err := os.Open("/dev/vsock")
	if err != nil {
		return err
	}
	defer f.Close()
	cid, err := unix.IoctlGetUint32(int(f.Fd()), unix.IOCTL_VM_SOCKETS_GET_LOCAL_CID)
	if err == nil && (cid <= unix.VMADDR_CID_HOST || cid == unix.VMADDR_CID_ANY) {
		err = fmt.Errorf("this host is no guest (%d)", cid)
	}
	return err
}

// probeFile looks for name below the path in a variable.
func probeFile(variable, name string) error {
	path := os.Getenv(variable)
	if path == "" {
		return fmt.Errorf("%s is not set", variable)
	}
	_, err := os.Stat(filepath.Join(path, name))
	return err
}

func probeTools(tools ...string) error {
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			return err
		}
	}
	return nil
}

// probeUEFI looks for a descriptor where distributions have them: which one is
// taken is what tests are about.
func probeUEFI() error {
	paths, err := filepath.Glob("/usr/share/qemu/firmware/*.json")
	if err == nil && len(paths) == 0 {
		err = fmt.Errorf("no descriptor in /usr/share/qemu/firmware")
	}
	return err
}

// probeAny wants one of several names or places of a program.
func probeAny(tools ...string) error {
	var errs []error
	for _, tool := range tools {
		_, err := exec.LookPath(tool)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
