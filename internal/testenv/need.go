// Package testenv says what a test needs from the host it runs on. A test that
// lacks something is skipped with the remedy; it fails instead where the run
// promised the thing. So no skip looks green.
package testenv

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// Promises is the environment variable in which a run promises needs by name,
// separated by commas: VMLAUNCH_TEST_NEEDS=root,vhost-vsock,vsock-modes.
const Promises = "VMLAUNCH_TEST_NEEDS"

// A Need is something a test can't do without.
type Need int

// The needs.
const (
	Root         Need = iota + 1 // effective user 0 with CAP_NET_ADMIN
	QEMU                         // qemu-system-x86_64 that runs
	KVM                          // /dev/kvm that opens for us; it may still be broken
	VhostVsock                   // /dev/vhost-vsock that opens for us
	NoVhostVsock                 // no /dev/vhost-vsock: a host that can't run machines
	VsockModes                   // network namespaces have a vsock mode (Linux 7.0 and later)
	NoModes                      // a kernel with vsock but without modes (Linux 6.x)
	Nest                         // the run may take minutes to boot a nested host
	Throwaway                    // a host nobody needs after the run: it may be left unusable
	OwnCID                       // a host that is a vsock guest itself
	Light                        // the light guest kernel, its path in VMLAUNCH_TEST_LIGHT
	Distro                       // a stock distribution's disk, kernel and initramfs, their folder in VMLAUNCH_TEST_DISTRO
	SSH                          // ssh, scp and sftp, of OpenSSH
	Tools                        // ip, unshare and nsenter
	QEMUImg                      // qemu-img
	UEFI                         // a UEFI firmware with its descriptor for QEMU
	SWTPM                        // swtpm, a software TPM
	Virtiofsd                    // a virtiofsd, wherever the distribution has it
	Passt                        // passt
	Systemd                      // systemd-analyze
	Vmlaunch                     // the program itself: in VMLAUNCH_BINARY, or in PATH
)

// all returns every need there is, in the order of the constants.
func all() []Need {
	return []Need{Root, QEMU, KVM, VhostVsock, NoVhostVsock, VsockModes, NoModes, Nest, Throwaway, OwnCID, Light, Distro, SSH, Tools, QEMUImg, UEFI, SWTPM, Virtiofsd, Passt, Systemd, Vmlaunch}
}

// String returns the name by which a run promises n.
func (n Need) String() string {
	switch n {
	case Root:
		return "root"
	case QEMU:
		return "qemu"
	case KVM:
		return "kvm"
	case VhostVsock:
		return "vhost-vsock"
	case NoVhostVsock:
		return "no-vhost-vsock"
	case VsockModes:
		return "vsock-modes"
	case NoModes:
		return "no-modes"
	case Nest:
		return "nest"
	case Throwaway:
		return "throwaway"
	case OwnCID:
		return "own-cid"
	case Light:
		return "light"
	case Distro:
		return "distro"
	case SSH:
		return "ssh"
	case Tools:
		return "tools"
	case QEMUImg:
		return "qemu-img"
	case UEFI:
		return "uefi"
	case SWTPM:
		return "swtpm"
	case Virtiofsd:
		return "virtiofsd"
	case Passt:
		return "passt"
	case Systemd:
		return "systemd"
	case Vmlaunch:
		return "vmlaunch"
	}
	return "unknown"
}

// hint returns what to try to get n.
func (n Need) hint() string {
	switch n {
	case Root:
		return "run as root"
	case QEMU:
		return "apt-get install qemu-system-x86"
	case KVM:
		return "modprobe kvm_intel || modprobe kvm_amd"
	case VhostVsock:
		return "modprobe vhost_vsock"
	case NoVhostVsock:
		return "modprobe -r vhost_vsock"
	case VsockModes, NoModes:
		return "run it in a nest: make test"
	case Nest:
		return Promises + "=nest"
	case Throwaway:
		return "run it alone in a nest with " + Promises + "=throwaway"
	case OwnCID:
		return "run it in a nest: vmlaunch nest up --own-cid 77"
	case Light:
		return "vmlaunch image build light"
	case Distro:
		return "make test-distro"
	case SSH:
		return "apt-get install openssh-client"
	case Tools:
		return "apt-get install iproute2 util-linux"
	case QEMUImg:
		return "apt-get install qemu-utils"
	case UEFI:
		return "apt-get install ovmf"
	case SWTPM:
		return "apt-get install swtpm"
	case Virtiofsd:
		return "apt-get install virtiofsd, or qemu-system-common before Debian 13"
	case Passt:
		return "apt-get install passt"
	case Systemd:
		return "apt-get install systemd"
	case Vmlaunch:
		return "make unit, which builds it"
	}
	return ""
}

// Require skips t unless the host meets all needs. It fails t instead if the
// run promised the missing one in [Promises], and also if the run promised
// something that no test can mean.
func Require(t testing.TB, needs ...Need) {
	t.Helper()
	require(t, os.Getenv(Promises), needs)
}

func require(t testing.TB, promises string, needs []Need) {
	t.Helper()
	promised, unknown := parse(promises)
	if len(unknown) > 0 {
		t.Fatalf("%s=%s: no such need: %s (there are: %s)", Promises, promises,
			strings.Join(unknown, ", "), strings.Join(names(all()), ", "))
		return
	}
	for _, n := range needs {
		err := n.probe(promised)
		if err == nil {
			continue
		}
		if slices.Contains(promised, n) {
			t.Fatalf("%s promises %s, but: %v", Promises, n, err)
			return
		}
		t.Skipf("needs %s (try: %s): %v", n, n.hint(), err)
		return
	}
}

// Has reports whether the host meets n, for script conditions and for tests that
// choose between two real ways. It never counts as a promise kept.
func Has(n Need) bool {
	promised, _ := parse(os.Getenv(Promises))
	return n.probe(promised) == nil
}

// parse splits a list of promised needs, and returns the names it does not know.
func parse(list string) (needs []Need, unknown []string) {
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		if name == "" {
			continue
		}
		i := slices.IndexFunc(all(), func(n Need) bool { return n.String() == name })
		if i < 0 {
			unknown = append(unknown, name)
			continue
		}
		needs = append(needs, all()[i])
	}
	return needs, unknown
}

func names(needs []Need) []string {
	var s []string
	for _, n := range needs {
		s = append(s, n.String())
	}
	return s
}
