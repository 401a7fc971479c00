package vsock_test

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// wantClaimed asks the kernel for c without claiming it.
func wantClaimed(t *testing.T, c vsock.CID, want bool, when string) {
	t.Helper()
	if got, err := vsock.Claimed(c); got != want || err != nil {
		t.Errorf("cid %d, %s: got %v, %v, want %v", c, when, got, err, want)
	}
}

// TestClaimed asks for a CID in each way in which it can be held but by a guest
// that runs, which package guest has.
func TestClaimed(t *testing.T) {
	testenv.Require(t, testenv.VhostVsock, testenv.QEMU)
	wantClaimed(t, 80, false, "free")
	if !free(t, 80) {
		t.Fatal("asking claimed it")
	}
	g := hold(t, 80)
	wantClaimed(t, 80, true, "held by a bare descriptor")
	wantClaimed(t, 81, false, "beside a held one")

	cmd := exec.Command("qemu-system-x86_64", qemuArgs("vhostfd=3,guest-cid=80")...)
	cmd.ExtraFiles = []*os.File{g.File()}
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
	if _, err := bufio.NewReader(stdout).ReadString(')'); err != nil { // the monitor's prompt: devices are made
		t.Errorf("monitor: %v", err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	wantClaimed(t, 80, true, "held by QEMU that is stopped")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed, as asked
	becomesFree(t, 80)
	wantClaimed(t, 80, false, "let go of")
}

// TestClaimedTakesNothing lets claims and questions race: no question may be
// in a claim's way.
func TestClaimedTakesNothing(t *testing.T) {
	testenv.Require(t, testenv.VhostVsock)
	done := make(chan struct{})
	asked := make(chan error, 1)
	go func() {
		for {
			select {
			case <-done:
				asked <- nil
				return
			default:
			}
			if _, err := vsock.Claimed(82); err != nil {
				asked <- err
				return
			}
		}
	}()
	for range 200 {
		g, err := vsock.Hold(82)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	if err := <-asked; err != nil {
		t.Error(err)
	}
}

// TestClaimableByAClaim asks the other way, which hosts that are guests go.
func TestClaimableByAClaim(t *testing.T) {
	testenv.Require(t, testenv.VhostVsock)
	for _, want := range []bool{false, true} {
		if want {
			hold(t, 84)
		}
		if got, err := vsock.Claimable(84); got != want || err != nil {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
	}
	if free(t, 84) {
		t.Error("asking took the claim away")
	}
}

func TestClaimedRefusesWhatNoGuestMayHave(t *testing.T) {
	for _, c := range []vsock.CID{vsock.Hypervisor, vsock.Loopback, vsock.Host, vsock.Any} {
		if _, err := vsock.Claimed(c); !errors.Is(err, vsock.ErrBadCID) {
			t.Errorf("cid %d: got %v, want ErrBadCID", c, err)
		}
	}
}

// TestClaimedWithoutDevice asks that "nobody can have it" does not pass for
// "nobody has it".
func TestClaimedWithoutDevice(t *testing.T) {
	testenv.Require(t, testenv.NoVhostVsock)
	if claimed, err := vsock.Claimed(83); claimed || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got %v, %v, want what is missing", claimed, err)
	}
	if err := vsock.Usable(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("usable: got %v, want what is missing", err)
	}
}
