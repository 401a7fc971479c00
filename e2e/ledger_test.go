package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// says runs a cid command that has to end with code and to say all words.
func (h *host) says(code int, words []string, args ...string) {
	h.t.Helper()
	r := h.run(append([]string{"cid"}, args...)...)
	if r.code != code {
		h.t.Errorf("want exit code %d: %s", code, r)
	}
	for _, w := range words {
		if !strings.Contains(r.stdout+r.stderr, w) {
			h.t.Errorf("want %q: %s", w, r)
		}
	}
}

// foreignIn runs a QEMU of our own making that holds cid in the namespace ref.
// The caller ends it by calling stop, or the test does.
func foreignIn(t *testing.T, ref string, cid vsock.CID) (pid string, stop func()) {
	t.Helper()
	ns, err := netns.Open(ref)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	cmd := exec.Command("qemu-system-x86_64", "-accel", "tcg", "-machine", "pc", "-m", "32", "-S", "-nodefaults", "-display", "none",
		"-device", "vhost-vsock-pci,guest-cid="+cid.String())
	cmd.Stderr = os.Stderr
	if err := ns.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	held := func() (has bool) {
		err := ns.Do(func() (err error) {
			has, err = vsock.Claimed(cid)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return has
	}
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // it was killed: the state says nothing
		await(t, "the CID to come free", func() bool { return !held() })
	}
	t.Cleanup(stop)
	await(t, "the foreign QEMU to hold its CID", held)
	return strconv.Itoa(cmd.Process.Pid), stop
}

// Issue B, 2: check and who foretell and name, in each kind of namespace, what a
// start then meets.
func TestCheckAndWho(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes, testenv.QEMU)
	h := newHost(t)
	h.says(0, []string{"cid 42: free"}, "check", "42")
	if _, err := os.Stat(filepath.Join(h.root, "state")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a check made a state folder: %v", err)
	}
	h.netns("red", "local")
	h.netns("blue", "global")
	h.netns("green", "global")
	h.says(0, []string{`cid 42 in netns "red": free`}, "check", "42", "--netns", "red")
	h.says(3, []string{`cid 42 in netns "red": free`}, "who", "42", "--netns", "red")
	h.up(probe, "apple", "red")
	apple := []string{`machine "apple"`, "pid " + strconv.Itoa(h.inspect("apple").PID)}
	h.says(5, apple, "check", "42", "--netns", "red")
	h.says(0, apple, "who", "42", "--netns", "red")
	h.says(0, []string{"free"}, "check", "42", "--netns", "blue")
	h.up(probe, "berry", "blue")
	for _, ref := range []string{"", "blue", "green"} {
		h.says(5, []string{`machine "berry"`}, "check", "42", "--netns", ref)
	}
	h.must("stop", "apple")
	h.says(5, []string{`machine "apple" (stopped)`}, "check", "42", "--netns", "red")

	// A stranger takes the number of the machine that is down.
	pid, stop := foreignIn(t, "red", sameCID)
	h.says(5, []string{`machine "apple" (stopped)`, "but in the kernel by foreign pid " + pid}, "check", "42", "--netns", "red")
	h.says(0, []string{"foreign pid " + pid}, "who", "42", "--netns", "red")
	h.wantFailure(5, []string{"cid 42", pid}, "start", "apple")
	stop()
	h.must("start", "apple")
	h.wantName(probe, "apple")

	// And one that nobody of us has.
	pid, stop = foreignIn(t, "green", 43)
	for _, ref := range []string{"", "blue"} {
		h.says(5, []string{"cid 43", "held by foreign pid " + pid, "qemu-system-x86_64"}, "check", "43", "--netns", ref)
	}
	h.says(0, []string{"free"}, "check", "43", "--netns", "red")
	stop()
	h.says(0, []string{"free"}, "check", "43")
	h.must("rm", "--force", "berry")
	h.says(0, []string{"free", `machine "berry" gave it back`}, "check", "42", "--netns", "blue")
	h.says(0, []string{`machine "berry" gave it back`}, "who", "42", "--netns", "blue")
	for _, reserved := range []string{"0", "1", "2", "4294967295"} {
		h.says(2, []string{"not the cid of a guest"}, "check", reserved)
	}
}

// Issue B, 2: a reserved number is the machine's that it is for, and nobody
// else's.
func TestReservedCID(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	h := newHost(t)
	h.netns("red", "local")
	h.must("cid", "reserve", "50", "--for", "apple", "--netns", "red", "--note", "the exam")
	h.says(5, []string{`reserved for machine "apple" (the exam)`, "vmlaunch cid release 50 --netns red"}, "check", "50", "--netns", "red")
	h.says(0, []string{"free"}, "check", "50")
	h.wantFailure(5, []string{"cid 50", `reserved for machine "apple" (the exam)`}, "up", "berry", "--image", "probe", "--netns", "red", "--cid", "50")
	h.must("up", "apple", "--image", "probe", "--netns", "red")
	if m := h.inspect("apple"); m.CID != 50 {
		t.Errorf("machine apple has cid %d, want the reserved 50", m.CID)
	}
	h.says(0, []string{`machine "apple" goes on having it`}, "release", "50", "--netns", "red")
	h.says(4, []string{"vmlaunch rm apple"}, "release", "50", "--netns", "red")
	h.must("rm", "--force", "apple")
	h.says(0, []string{"was cooling"}, "release", "50", "--netns", "red")
	h.says(0, []string{"nothing to release"}, "release", "50", "--netns", "red")

	chosen := h.must("cid", "reserve", "--note", "for the other tool")
	h.says(5, []string{"reserved (for the other tool)"}, "check", chosen)
	h.says(0, []string{"reserved"}, "who", chosen)
	if another := h.must("cid", "reserve"); another == chosen {
		t.Errorf("%s was reserved twice", chosen)
	}
	h.must("cid", "release", chosen)
	h.says(0, []string{"free"}, "check", chosen)
}

// Issue B, 2: the map has ours and strangers', also one whose CID can't be seen,
// with the kernel's word on each.
func TestMapOfTheHost(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes, testenv.QEMU)
	h := newHost(t)
	h.netns("red", "local")
	h.up(probe, "apple", "red")
	h.up(probe, "berry", "")
	h.must("stop", "berry")
	pid, _ := foreignIn(t, "red", 43)
	g, err := vsock.Hold(77) // this test, whose command line does not tell
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	self := strconv.Itoa(os.Getpid())

	var rows []struct {
		CID            int
		State, Machine string
		Netns, Mode    string
		PID            int
		Held           *bool
	}
	h.decode(&rows, "cid", "ls", "--all", "--output", "json")
	have := map[string]bool{}
	for _, r := range rows {
		held := "not asked"
		if r.Held != nil {
			held = strconv.FormatBool(*r.Held)
		}
		have[strings.Join([]string{strconv.Itoa(r.CID), r.State, r.Mode, r.Netns, r.Machine, strconv.Itoa(r.PID), held}, " ")] = true
	}
	for _, want := range []string{
		"42 leased local red apple " + strconv.Itoa(h.inspect("apple").PID) + " true",
		"42 leased global  berry 0 false",
		"43 foreign local red  " + pid + " true",
		"0 foreign global   " + self + " not asked",
	} {
		if !have[want] {
			t.Errorf("the map lacks %q: %v", want, have)
		}
	}
	if len(rows) != 4 {
		t.Errorf("the map has %d rows, want 4: %v", len(rows), have)
	}
	h.says(0, []string{"?", "HELD", "pid " + self}, "ls", "--all")
	h.says(5, []string{"process that was not found; pid " + self, "has a vhost-vsock device with a cid that can't be seen"}, "check", "77")
}

// Issue B, 2: asking is in nobody's way, however often it is done.
func TestChecksDoNotDisturbAStart(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock)
	h := newHost(t)
	stop, asked := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				asked <- n
				return
			default:
			}
			// The answer changes while the machine starts; what counts is the machine.
			_ = exec.Command(testenv.Binary(), "--root", h.root, "cid", "check", "42").Run()
		}
	}()
	for range 3 {
		h.up(probe, "apple", "")
		h.must("rm", "--force", "apple")
	}
	close(stop)
	if n := <-asked; n < 3 {
		t.Errorf("asked %d times only", n)
	}
}

// Issue B, 2 on any kernel: a stranger is foretold, named, remembered for a while,
// and forgotten when told to.
func TestStrangerIsForetold(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.QEMU)
	h := newHost(t)
	pid, stop := foreignIn(t, "", 43)
	h.says(5, []string{"cid 43", "held by foreign pid " + pid}, "check", "43")
	h.says(0, []string{"held by foreign pid " + pid}, "who", "43")
	h.wantFailure(5, []string{"cid 43", "held by foreign pid " + pid}, "up", "apple", "--image", "probe", "--cid", "43")
	h.says(0, []string{"foreign", pid}, "ls")
	stop()
	h.says(0, []string{"free", "pid " + pid, "had it"}, "check", "43")
	h.says(3, []string{"free", "had it"}, "who", "43")
	h.says(0, []string{"was foreign"}, "release", "43")
	if out := h.must("cid", "check", "43"); out != "cid 43: free" {
		t.Errorf("after its release: %s", out)
	}
}

// Issue B, 3: what is chosen lies in the space's range, what is asked for need not.
func TestRangeOfASpace(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock)
	h := newHost(t)
	settings := filepath.Join(h.root, "config.yaml")
	if err := os.WriteFile(settings, []byte("cid:\n  range:\n    global: 100-101\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.must("up", "apple", "--image", "probe")
	other := h.must("cid", "reserve")
	if m := h.inspect("apple"); m.CID+uint32(number(t, other)) != 100+101 || m.CID < 100 || m.CID > 101 {
		t.Errorf("machine apple has cid %d, %s is reserved, want 100 and 101", m.CID, other)
	}
	h.wantFailure(5, []string{"no cid left", "100 to 101", "cid.range.global in " + settings}, "up", "berry", "--image", "probe")
	h.must("up", "berry", "--image", "probe", "--cid", "7")
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
