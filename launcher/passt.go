package launcher

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/store"
)

// fdPasst is the descriptor that a passt inherits: its end of the socket to QEMU.
const fdPasst = 3

// nobody is the user that the kernel itself takes for nobody: see
// /proc/sys/kernel/overflowuid.
const nobody = "65534"

func findPasst() (string, error) {
	path, err := exec.LookPath("passt")
	if err != nil {
		return "", &MissingError{What: "passt", Need: "have --net passt", Hint: "try: apt-get install passt, or --net user"}
	}
	return filepath.Abs(path)
}

// passtArgs returns the command line of the passt that serves n. It is a pure
// function. Without --address and the like a guest would get the host's own
// address. No port of the guest is offered anywhere: that is passt's default.
func passtArgs(n store.NIC, root bool) []string {
	args := []string{
		"--foreground", "--quiet", "--one-off", "--ipv4-only", // --one-off: it ends with its QEMU
		"--fd", fmt.Sprint(fdPasst),
		"--address", n.Address.Addr().String(),
		"--netmask", net.IP(net.CIDRMask(n.Address.Bits(), 32)).String(),
		"--gateway", n.Gateway.String(),
		"--dns", n.DNS.String(), "--dns-forward", n.DNS.String(),
	}
	if root { // it would look for "nobody", who need not be in /etc/passwd
		args = append(args, "--runas", nobody+":"+nobody)
	}
	return args
}

// startPassts starts a passt for each network that goes by one, in vmlaunch's own
// namespace: through it also a machine in an isolated one gets out.
func (a *attempt) startPassts() error {
	for i, n := range a.rec.NICs {
		if n.Kind != configs.NetPasst {
			continue
		}
		ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("connect passt of machine %q: %w", a.rec.Name, os.NewSyscallError("socketpair", err))
		}
		a.host.nets.fds[i].link = a.pass(os.NewFile(uintptr(ends[0]), "passt"))
		theirs := os.NewFile(uintptr(ends[1]), "passt")
		err = a.startDaemon(daemon{
			name: fmt.Sprintf("passt-net%d", i), path: a.host.nets.passt, args: passtArgs(n, os.Geteuid() == 0), files: []*os.File{theirs}, here: true,
		})
		theirs.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
