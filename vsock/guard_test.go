package vsock_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/vsock"
	"golang.org/x/sys/unix"
)

// setCID is the raw ioctl, with a number as wide as the kernel takes it.
func setCID(t *testing.T, f *os.File, cid uint64) error {
	t.Helper()
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), 0x4008af60, uintptr(unsafe.Pointer(&cid)))
	if errno != 0 {
		return errno
	}
	return nil
}

func hold(t *testing.T, c vsock.CID) *vsock.Guard {
	t.Helper()
	g, err := vsock.Hold(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return g
}

// free reports whether the kernel gives c away now.
func free(t *testing.T, c vsock.CID) bool {
	t.Helper()
	g, err := vsock.Hold(c)
	if errors.Is(err, vsock.ErrInUse) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	return true
}

// becomesFree waits for the kernel to let go of c after the death of a process.
func becomesFree(t *testing.T, c vsock.CID) {
	t.Helper()
	const limit = 10 * time.Second // 15 to 230 ms were seen, emulated and idle
	start := time.Now()
	for !free(t, c) {
		if time.Since(start) > limit {
			t.Fatalf("cid %v is still held %v after the death of its holder", c, limit)
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Logf("cid %v came free after %v", c, time.Since(start))
}

func TestHoldClaimsAtOnce(t *testing.T) {
	testenv.Require(t, testenv.VhostVsock)
	for _, c := range []vsock.CID{vsock.FirstGuest, 42, vsock.LastGuest} {
		g := hold(t, c)
		if g.CID() != c || g.File() == nil {
			t.Errorf("got cid %v, file %v; want %v and a file", g.CID(), g.File(), c)
		}
		if free(t, c) {
			t.Errorf("cid %v was given to two", c)
		}
		if err := errors.Join(g.Close(), g.Close()); err != nil {
			t.Errorf("close twice: %v", err)
		}
		if !free(t, c) {
			t.Errorf("cid %v is held after Close", c)
		}
	}
}

// TestFact13 holds the kernel to the range of guests that ParseCID knows, and
// to what a second claim on one descriptor does.
func TestFact13RangeAndSecondClaim(t *testing.T) {
	testenv.Require(t, testenv.VhostVsock)
	g, other := hold(t, 50), hold(t, 51)
	for _, c := range []uint64{0, 1, 2, 1<<32 - 1, 1 << 32, 1<<32 + 52} {
		if err := setCID(t, g.File(), c); !errors.Is(err, unix.EINVAL) {
			t.Errorf("claim of %d: got %v, want EINVAL", c, err)
		}
	}
	if err := setCID(t, g.File(), uint64(other.CID())); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("claim of a taken one: got %v, want EADDRINUSE", err)
	}
	if free(t, 50) {
		t.Error("a refused second claim let go of the first")
	}
	if err := setCID(t, g.File(), 52); err != nil {
		t.Fatalf("second claim: %v", err)
	}
	if !free(t, 50) || free(t, 52) {
		t.Error("a second claim did not move the first one")
	}
}

// TestFact14 asks that a CID stays held as long as any copy is open.
func TestFact14ClaimLivesWithTheLastCopy(t *testing.T) {
	testenv.Require(t, testenv.VhostVsock)
	g := hold(t, 60)
	dup, err := unix.FcntlInt(g.File().Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if free(t, 60) {
		t.Error("free with a copy still open")
	}
	if err := unix.Close(dup); err != nil {
		t.Fatal(err)
	}
	if !free(t, 60) {
		t.Error("held with no copy open")
	}
}

func TestFact14ClaimEndsWithAKilledHolder(t *testing.T) {
	testenv.Require(t, testenv.VhostVsock)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childCID+"=61")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || said != "held\n" {
		t.Errorf("child: got %q, %v; want held", said, err)
	}
	if free(t, 61) {
		t.Error("free while another process holds it")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed, as asked
	becomesFree(t, 61)
}

func TestHeldDescriptorIsNotInheritedByChance(t *testing.T) {
	testenv.Require(t, testenv.VhostVsock)
	g := hold(t, 62)
	flags, err := unix.FcntlInt(g.File().Fd(), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("got flags %#x, %v; want FD_CLOEXEC", flags, err)
	}
	status, err := unix.FcntlInt(g.File().Fd(), unix.F_GETFL, 0)
	if err != nil || status&unix.O_NONBLOCK != 0 {
		t.Errorf("got status %#x, %v; want blocking, which QEMU shares", status, err)
	}
}

// TestFact15 asks that QEMU can use the descriptor held by us, that it goes on
// holding the CID after we let go, and that quitting frees it.
func TestFact15QEMUTakesTheHeldDescriptor(t *testing.T) {
	testenv.Require(t, testenv.VhostVsock, testenv.QEMU)
	g := hold(t, 70)
	cmd := exec.Command("qemu-system-x86_64", qemuArgs("vhostfd=3,guest-cid=70")...)
	cmd.ExtraFiles = []*os.File{g.File()}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(stdout)
	if _, err := out.ReadString(')'); err != nil { // the monitor's prompt: devices are made
		t.Errorf("monitor: %v", err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if free(t, 70) {
		t.Error("free although QEMU has the descriptor")
	}
	if _, err := io.WriteString(stdin, "quit\n"); err != nil {
		t.Error(err)
	}
	_, _ = io.Copy(io.Discard, out)
	if err := cmd.Wait(); err != nil {
		t.Errorf("qemu: %v", err)
	}
	becomesFree(t, 70)
}

// TestFact16 keeps the words by which the launcher's users know a taken CID
// when QEMU opens the device by itself.
func TestFact16QEMUNamesATakenCID(t *testing.T) {
	testenv.Require(t, testenv.VhostVsock, testenv.QEMU)
	hold(t, 71)
	for device, want := range map[string]string{
		"guest-cid=71": "unable to set guest cid: Address already in use",
		"guest-cid=2":  "guest-cid property must be greater than 2",
	} {
		var out bytes.Buffer
		cmd := exec.Command("qemu-system-x86_64", qemuArgs(device)...)
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 || !strings.Contains(out.String(), want) {
			t.Errorf("%s: got %v and %q, want exit 1 and %q", device, err, out.String(), want)
		}
	}
}

func qemuArgs(device string) []string {
	return []string{
		"-accel", "tcg", "-machine", "pc", "-m", "32", "-S", "-nodefaults", "-no-user-config", "-display", "none",
		"-monitor", "stdio", "-device", fmt.Sprintf("vhost-vsock-pci,%s", device),
	}
}
