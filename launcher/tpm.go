package launcher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The descriptors that a swtpm inherits.
const (
	fdTPMControl = 3 // its end of a socket pair with QEMU
	fdTPMState   = 4 // the folder with its state: a path could have a comma in it
)

// findSWTPM returns the path of the program that is a TPM. It fails with a
// [*MissingError].
func findSWTPM() (string, error) {
	path, err := exec.LookPath("swtpm")
	if err != nil {
		return "", &MissingError{What: "swtpm", Need: "give a guest a TPM", Hint: "try: apt-get install swtpm"}
	}
	return filepath.Abs(path)
}

// serveTPM starts the machine's TPM, if it is to have one. What the TPM knows
// lasts as long as the machine's disk. It ends with QEMU, which has the only other
// end of its socket.
func (a *attempt) serveTPM() error {
	if !a.rec.Spec.TPM {
		return nil
	}
	if err := a.startTPM(a.files.tpm(a.rec.Spec.Ephemeral)); err != nil {
		return fmt.Errorf("give machine %q a TPM: %w", a.rec.Name, err)
	}
	return nil
}

// startTPM starts a TPM with its state in dir, which is made if it isn't there.
func (a *attempt) startTPM(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	state, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer state.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socketpair: %w", err)
	}
	a.host.tpmFD = a.pass(os.NewFile(uintptr(pair[0]), "tpm"))
	theirs := os.NewFile(uintptr(pair[1]), "swtpm")
	defer theirs.Close()
	return a.startDaemon(daemon{
		name: "swtpm", path: a.host.swtpm, here: true, files: []*os.File{fdTPMControl - 3: theirs, fdTPMState - 3: state},
		args: []string{
			"socket", "--tpm2", "--terminate",
			"--ctrl", fmt.Sprintf("type=unixio,clientfd=%d", fdTPMControl),
			"--tpmstate", fmt.Sprintf("dir=/proc/self/fd/%d", fdTPMState),
		},
	})
}

// tpmArgs returns the arguments for a TPM that listens on a descriptor QEMU
// inherits; 0 is none.
func tpmArgs(fd int) []string {
	if fd == 0 {
		return nil
	}
	return []string{
		"-chardev", fmt.Sprintf("socket,id=tpm,fd=%d", fd),
		"-tpmdev", "emulator,id=tpm0,chardev=tpm",
		"-device", string(text(struct {
			Driver string `json:"driver"`
			TPM    string `json:"tpmdev"`
		}{"tpm-crb", "tpm0"})),
	}
}
