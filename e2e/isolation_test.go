package e2e

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// sameCID is the number that every test here wants to use twice.
const sameCID = 42

// A kind is a built-in guest and how it is asked for its name.
type kind struct {
	image  string
	name   []string // command that prints the machine's name
	answer string   // what stands before the name in its output
	port   uint32   // a port that answers when the guest is up
}

var (
	probe = kind{image: "probe", name: []string{"NAME"}, answer: "OK ", port: 1234}
	linux = kind{image: "linux", name: []string{"hostname"}, port: 22}
)

// up brings up one machine with sameCID in a namespace and waits for ready.
func (h *host) up(k kind, name, ns string) {
	h.t.Helper()
	h.must("up", name, "--image", k.image, "--netns", ns, "--cid", strconv.Itoa(sameCID))
	if m := h.inspect(name); m.State != "running" || !m.Ready || m.CID != sameCID || m.Netns != ns {
		h.t.Errorf("machine %s after up: %+v", name, m)
	}
}

// wantName asks the guest itself who it is.
func (h *host) wantName(k kind, name string) {
	h.t.Helper()
	out := h.must(append([]string{"exec", name, "--"}, k.name...)...)
	if want := k.answer + name; out != want {
		h.t.Errorf("exec %s %v = %q, want %q", name, k.name, out, want)
	}
}

// dial connects from inside a namespace ("" is the host's own) and hangs up.
func dial(t *testing.T, ns string, cid vsock.CID, port uint32) error {
	t.Helper()
	n, err := netns.Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return n.Do(func() error {
		c, err := vsock.Dial(ctx, cid, port)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// Issue A, a: two local namespaces, one CID, two machines; the host sees none.
func TestSameCIDInTwoLocalNamespaces(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	h := newHost(t)
	h.netns("red", "local")
	h.netns("blue", "local")
	h.up(probe, "apple", "red")
	h.up(probe, "berry", "blue")
	h.wantName(probe, "apple")
	h.wantName(probe, "berry")
	if err := dial(t, "", sameCID, probe.port); !errors.Is(err, syscall.ENODEV) {
		t.Errorf("dial from the host: %v, want ENODEV", err)
	}
}

// Issue A, b: global namespaces are one CID space; the second start names the
// first machine and leaves nothing.
func TestSameCIDInTwoGlobalNamespaces(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	h := newHost(t)
	h.netns("red", "global")
	h.netns("blue", "global")
	h.up(probe, "apple", "red")
	h.wantFailure(5, []string{"cid 42", `"apple"`}, "up", "berry", "--image", "probe", "--netns", "blue", "--cid", "42")
	if _, there := h.list()["berry"]; there {
		t.Error("the refused machine is listed")
	}
	for _, p := range h.processes() {
		if strings.Contains(p, "berry") {
			t.Errorf("left of the refused machine: %s", p)
		}
	}
	h.wantName(probe, "apple")
}

// Issue A, a to d once more with the linux guest: two local namespaces, as README.md
// shows them, and a global one, the same CID in each. It boots for minutes in a nest.
func TestLinuxGuestsShareACID(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes, testenv.Light, testenv.SSH)
	h := newHost(t)
	h.play("testdata/transcript.txt")
	h.netns("green", "global")
	h.netns("white", "global")
	h.up(linux, "cherry", "green")
	h.wantFailure(5, []string{"cid 42", `"cherry"`}, "up", "damson", "--image", "linux", "--netns", "white", "--cid", "42")
	for _, name := range []string{"apple", "berry", "cherry"} {
		h.wantName(linux, name)
	}
	h.wantSSH("apple", "berry")
	h.wantCopy("apple")
	h.wantSFTP("berry")
	for _, from := range []string{"", "green", "white"} {
		if err := dial(t, from, sameCID, linux.port); err != nil {
			t.Errorf("dial from %q: %v", from, err)
		}
	}
	h.must("rm", "--force", "cherry")
	if err := dial(t, "", sameCID, linux.port); !errors.Is(err, syscall.ENODEV) {
		t.Errorf("dial from the host with only local machines left: %v, want ENODEV", err)
	}
	if _, there := h.list()["damson"]; there {
		t.Error("the refused machine is listed")
	}
	h.wantRepaired("apple", "berry")
	h.must("down", "apple", "berry")
}

// Issue A, b: a holder that vmlaunch does not manage is reported as foreign.
func TestForeignHolderIsNamed(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.QEMU)
	h := newHost(t)
	pid := startForeignQEMU(t, sameCID)
	h.wantFailure(5, []string{"cid 42", "foreign", strconv.Itoa(pid)}, "up", "apple", "--image", "probe", "--cid", "42")
	if got := h.list(); len(got) != 0 {
		t.Errorf("machines after the refusal: %v", got)
	}
}

// startForeignQEMU runs a QEMU of our own making that holds cid in the host's
// namespace, as any other program might, and returns its pid.
func startForeignQEMU(t *testing.T, cid vsock.CID) int {
	t.Helper()
	cmd := exec.Command("qemu-system-x86_64", "-accel", "tcg", "-machine", "pc", "-m", "32", "-S", "-nodefaults", "-display", "none",
		"-device", "vhost-vsock-pci,guest-cid="+strconv.Itoa(int(cid)))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // it was killed: the state says nothing
		awaitFree(t, cid)
	})
	await(t, "the foreign QEMU to hold its CID", func() bool {
		g, err := vsock.Hold(cid)
		if err == nil {
			g.Close()
		}
		return errors.Is(err, vsock.ErrInUse)
	})
	return cmd.Process.Pid
}

// awaitFree waits until the kernel gives cid out again in the host's own
// namespace: the device file is torn down some time after its holder.
func awaitFree(t *testing.T, cid vsock.CID) {
	t.Helper()
	await(t, "the CID to come free", func() bool {
		g, err := vsock.Hold(cid)
		if err == nil {
			g.Close()
		}
		return err == nil
	})
}

// await polls an observable state until it holds.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited 30s for %s", what)
		}
	}
}

// Issue A, c: the same CID in a global and in a local namespace at once.
func TestSameCIDInGlobalAndLocal(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	h := newHost(t)
	h.netns("red", "global")
	h.netns("blue", "local")
	h.up(probe, "apple", "red")
	h.up(probe, "berry", "blue")
	h.wantName(probe, "apple")
	h.wantName(probe, "berry")
}

// Issue A, d: a machine in a global namespace answers everywhere in the
// global space, and nowhere else.
func TestGlobalMachineAnswersInTheGlobalSpace(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	h := newHost(t)
	h.netns("red", "global")
	h.netns("blue", "global")
	h.netns("cell", "local")
	h.up(probe, "apple", "red")
	for _, from := range []string{"", "red", "blue"} {
		if err := dial(t, from, sameCID, probe.port); err != nil {
			t.Errorf("dial from %q: %v", from, err)
		}
	}
	if err := dial(t, "cell", sameCID, probe.port); !errors.Is(err, syscall.ENODEV) {
		t.Errorf("dial from a local namespace: %v, want ENODEV", err)
	}
}

// Issue A, e: loopback crosses global namespaces, works inside a local one
// and does not leave it.
func TestLoopback(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VsockModes)
	h := newHost(t)
	for name, mode := range map[string]string{"red": "global", "blue": "global", "cell": "local", "cage": "local"} {
		h.netns(name, mode)
	}
	for _, c := range []struct {
		listener, dialer string
		crosses          bool
	}{
		{"", "red", true},
		{"red", "", true},
		{"red", "blue", true},
		{"cell", "cell", true},
		{"red", "red", true},
		{"cell", "cage", false},
		{"cell", "", false},
		{"", "cell", false},
		{"red", "cell", false},
		{"cell", "red", false},
	} {
		t.Run("from "+nameOr(c.dialer, "host")+" to "+nameOr(c.listener, "host"), func(t *testing.T) {
			port := listen(t, c.listener)
			err := dial(t, c.dialer, vsock.Loopback, port)
			if c.crosses && err != nil {
				t.Errorf("dial: %v, want it to get through", err)
			}
			if !c.crosses && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("dial: %v, want ECONNRESET", err)
			}
		})
	}
}

func nameOr(name, other string) string {
	if name == "" {
		return other
	}
	return name
}

// listen accepts and drops connections inside a namespace until the test ends.
func listen(t *testing.T, ns string) (port uint32) {
	t.Helper()
	n, err := netns.Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	var l *vsock.Listener
	if err := n.Do(func() (err error) { l, err = vsock.Listen(0); return err }); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		drain(l)
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Port()
}

// drain accepts until l is closed.
func drain(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, c) // the peer hangs up at once
		c.Close()
	}
}
