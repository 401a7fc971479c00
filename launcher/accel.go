package launcher

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/netns"
)

const (
	kvmDevice = "/dev/kvm"

	// accelBound is how long the trial guest may take. It ran in 0.1 s under
	// emulation, most of it QEMU's own start. A nested KVM that is broken does
	// not fail, it hangs.
	accelBound = 3 * time.Second

	// accelPassed is QEMU's exit status when the trial guest writes 0x10 to
	// isa-debug-exit: the value times two, plus one.
	accelPassed = 0x10<<1 | 1
)

// An Accel is an accelerator and why it was chosen.
type Accel struct {
	Name   string `json:"name"`   // "kvm" or "tcg"
	Reason string `json:"reason"` // in words, never empty
}

// Accel returns the accelerator that a machine gets on this host with the given
// QEMU binary, unless it asks for another: KVM, if it was seen to run a guest.
// It fails if there is no such binary, or if ctx ends.
func (l *Launcher) Accel(ctx context.Context, qemu string) (Accel, error) {
	path, err := findQEMU(qemu)
	if err != nil {
		return Accel{}, err
	}
	return l.chooseAccel(ctx, path, configs.AccelAuto)
}

// chooseAccel decides between what was asked for and what works. Asked for
// "kvm" it fails with a [*MissingError] that has the reason if KVM does not run
// guests.
func (l *Launcher) chooseAccel(ctx context.Context, qemu, asked string) (Accel, error) {
	if asked == configs.AccelTCG {
		return Accel{configs.AccelTCG, "asked for"}, nil
	}
	failure, err := l.kvmFailure(ctx, qemu)
	switch {
	case err != nil:
		return Accel{}, err
	case failure == "":
		return Accel{configs.AccelKVM, "KVM ran a trial guest"}, nil
	case asked == configs.AccelKVM:
		return Accel{}, &MissingError{What: "working KVM: " + failure, Need: "have --accel kvm", Hint: "try: --accel tcg"}
	}
	return Accel{configs.AccelTCG, failure}, nil
}

// kvmFailure returns why KVM can't run a guest, or "" if it did. What was found
// out is kept in the cache for this boot and this binary.
func (l *Launcher) kvmFailure(ctx context.Context, qemu string) (string, error) {
	f, err := os.OpenFile(kvmDevice, os.O_RDWR, 0)
	if err != nil {
		return fmt.Sprintf("%s: %v", kvmDevice, bare(err)), nil
	}
	f.Close()
	key, err := accelKey(qemu)
	if err != nil {
		return "", err
	}
	path := filepath.Join(l.Dirs.Cache, "accel", key+".json")
	if failure, ok := readVerdict(path); ok {
		return failure, nil
	}
	l.Log.Info("try KVM", "qemu", qemu)
	failure, err := runTrial(ctx, qemu, configs.AccelKVM)
	if err != nil {
		return "", fmt.Errorf("try KVM: %w", err)
	}
	return failure, writeVerdict(path, failure)
}

// accelKey names a binary within one boot of this host. A file that was changed
// without a trace in size and times is taken for the same.
func accelKey(qemu string) (string, error) {
	st, err := os.Stat(qemu)
	if err != nil {
		return "", fmt.Errorf("qemu: %w", err)
	}
	boot, err := netns.BootID()
	if err != nil {
		return "", err
	}
	sys := st.Sys().(*syscall.Stat_t)
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d %d %d %d", boot, sys.Dev, sys.Ino, sys.Size,
		sys.Mtim.Nano(), sys.Ctim.Nano()))
	return hex.EncodeToString(sum[:10]), nil
}

type verdict struct {
	Failure string `json:"failure"`
}

func readVerdict(path string) (failure string, ok bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", false
	}
	var v verdict
	if json.Unmarshal(b, &v) != nil {
		return "", false // cut off by a crash: find out again
	}
	return v.Failure, true
}

func writeVerdict(path, failure string) error {
	b, err := json.Marshal(verdict{failure})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	old, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*.json"))
	for _, o := range old { // of earlier boots and binaries
		if err := os.Remove(o); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.WriteFile(path, b, 0o644)
}

// runTrial lets the trial guest run under accel, for [accelBound] at most, and
// returns why it did not get to its end, or "". It fails if the trial could not
// be made, also when ctx ends. It leaves nothing, even if this process is killed.
func runTrial(ctx context.Context, qemu, accel string) (failure string, err error) {
	fd, err := unix.MemfdCreate("trial", unix.MFD_CLOEXEC)
	if err != nil {
		return "", fmt.Errorf("make firmware: %w", err)
	}
	rom := os.NewFile(uintptr(fd), "trial")
	defer rom.Close()
	if _, err := rom.Write(trialROM()); err != nil {
		return "", fmt.Errorf("make firmware: %w", err)
	}
	bound, cancel := context.WithTimeout(ctx, accelBound)
	defer cancel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(bound, qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "pc", "-cpu", "max", "-m", "2", "-accel", accel, "-bios", "/proc/self/fd/3",
		"-device", "isa-debug-exit,iobase=0xf4,iosize=1")
	cmd.ExtraFiles = []*os.File{rom}
	cmd.Stderr = &stderr
	cmd.WaitDelay = time.Second // KVM may keep a killed QEMU for a while
	err = cmd.Run()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	said := ""
	if lines := tail(stderr.Bytes(), 1); len(lines) > 0 {
		said = ": " + lines[0]
	}
	exit, isExit := errors.AsType[*exec.ExitError](err)
	switch {
	case bound.Err() != nil:
		return fmt.Sprintf("%s opens, but a guest hangs in it (gave up after %s)%s", kvmDevice, accelBound, said), nil
	case isExit && exit.ExitCode() == accelPassed:
		return "", nil
	case isExit || err == nil:
		return fmt.Sprintf("%s opens, but a guest does not get to its end in it%s", kvmDevice, said), nil
	}
	return "", err
}

// trialROM returns the trial guest: firmware of 64 KiB whose last 16 bytes are
// where an x86 processor begins.
func trialROM() []byte {
	rom := make([]byte, 64<<10)
	copy(rom, trialGuest)
	copy(rom[len(rom)-16:], []byte{0xea, 0x00, 0x00, 0x00, 0xf0}) // ljmp $0xf000, $0
	return rom
}
