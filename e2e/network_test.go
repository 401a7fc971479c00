package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/netns"
)

// A nic is the part of what `vmlaunch inspect` says of a network device that the
// tests look at.
type nic struct{ Kind, MAC, Address, Bridge, Tap string }

func (h *host) nics(name string) []nic {
	h.t.Helper()
	var m struct{ NICs []nic }
	h.decode(&m, "inspect", name)
	return m.NICs
}

// links lists the interfaces of a namespace that are vmlaunch's.
func links(t *testing.T, ref string) []string {
	t.Helper()
	ns, err := netns.Open(ref)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	var text []byte
	err = ns.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/dev")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		if name, _, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && strings.HasPrefix(name, "vml") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func wantLinks(t *testing.T, ref, when string, want ...string) {
	t.Helper()
	if have := links(t, ref); !slices.Equal(have, want) {
		t.Errorf("%s: interfaces %q, want %q", when, have, want)
	}
}

// passts counts the processes of passt.
func passts(t *testing.T) int {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range names {
		if text, err := os.ReadFile(f); err == nil && strings.HasPrefix(string(text), "passt") {
			n++
		}
	}
	return n
}

// TestNetworkLeftovers brings machines with networks up and down, kills vmlaunch
// and QEMU, lets a start fail, and looks what is left.
func TestNetworkLeftovers(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	h := newHost(t)
	h.netns("red", "local")
	up := func(name string, more ...string) []string {
		return append([]string{"up", name, "--detach", "--image", "probe", "--netns", "red", "--net", "bridge"}, more...)
	}
	for _, step := range []string{"files", "pid"} { // package launcher has all of them, with a QEMU that is none
		h.env = []string{"VMLAUNCH_TEST_KILL_AT=" + step}
		h.want(-1, up("apple")...)
		h.env = nil
		if _, stays := h.list()["apple"]; stays {
			h.must("rm", "--force", "apple")
		}
		wantLinks(t, "red", "killed at "+step)
	}
	h.must(up("apple")...)
	h.must(up("pear")...)
	wantLinks(t, "red", "two machines", "vml0", "vml1", "vmlaunch0")
	apple, pear := h.nics("apple")[0], h.nics("pear")[0]
	if apple.Address == pear.Address || apple.MAC == pear.MAC || apple.Bridge != "vmlaunch0" || !strings.HasPrefix(apple.Tap, "vml") {
		t.Errorf("apple %+v, pear %+v", apple, pear)
	}
	if err := syscall.Kill(h.inspect("apple").PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "the tap of the killed QEMU to go", func() bool { return len(links(t, "red")) == 2 })
	h.must("stop", "pear", "--timeout", "0")
	h.must("start", "pear", "--detach")
	if again := h.nics("pear")[0]; again.Address != pear.Address || again.MAC != pear.MAC {
		t.Errorf("after a restart: %+v, want %+v", again, pear)
	}
	h.must("rm", "--force", "pear")
	wantLinks(t, "red", "apple is there", "vmlaunch0")
	h.env = []string{"VMLAUNCH_TEST_KILL_AT=rm:network"}
	h.want(-1, "rm", "--force", "apple")
	h.env = nil
	h.list()
	wantLinks(t, "red", "after the last machine")

	h.wantFailure(6, []string{"host's own namespace", "--net bridge,host"}, "up", "fig", "--image", "probe", "--net", "bridge")
	h.wantFailure(3, []string{`"none0"`}, up("fig", "--net", "tap=none0")...)
	h.wantFailure(3, []string{`"-n=\"'é"`}, up("fig", "--net", `bridge=-n="'é`)...)
	wantLinks(t, "red", "after starts that failed")
	wantLinks(t, "", "of the host")
}

// TestPasstLeftovers does the same with passt.
func TestPasstLeftovers(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes, testenv.Passt)
	h := newHost(t)
	h.netns("red", "local")
	up := []string{"up", "apple", "--detach", "--image", "probe", "--netns", "red", "--net", "passt"}
	giveRoute(t)
	h.must(up...)
	if n := passts(t); n != 1 {
		t.Errorf("%d passts run, want 1", n)
	}
	if err := syscall.Kill(h.inspect("apple").PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "passt to end with its QEMU", func() bool { return passts(t) == 0 })
	h.must("rm", "apple")
	h.env = []string{"VMLAUNCH_TEST_KILL_AT=qemu"} // passt runs, and no QEMU
	h.want(-1, up...)
	h.env = nil
	h.list()
	await(t, "passt to end after a kill", func() bool { return passts(t) == 0 })
	h.want(8, append(up, "--qemu-arg", "-no-such-option")...)
	await(t, "passt to end after a start that failed", func() bool { return passts(t) == 0 })
}

// giveRoute gives the host a default route if it has none, as a nest: passt wants one.
func giveRoute(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("ip", "route", "show", "default").Output(); err != nil || len(out) > 0 {
		return
	}
	if out, err := exec.Command("ip", "route", "add", "default", "via", "10.0.2.2").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "route", "del", "default").Run() })
}

// greet answers every connection to a port of the host's loopback with a word.
func greet(t *testing.T, word string) (port int) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends when l is closed
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte(word + "\n"))
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().(*net.TCPAddr).Port
}

// TestLinuxNetworks boots two machines on the bridge of a local namespace and one
// on that of the host, where addresses are the same: the two reach each other, and
// the host through passt; the third reaches the host by QEMU's own network.
func TestLinuxNetworks(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes, testenv.Light, testenv.Passt)
	h := newHost(t)
	h.netns("red", "local")
	giveRoute(t)
	port := greet(t, "hello of the host")
	light := os.Getenv("VMLAUNCH_TEST_LIGHT")
	var all sync.WaitGroup
	for name, nets := range map[string][]string{
		"a": {"--netns", "red", "--net", "bridge,address=10.9.0.2/24", "--net", "passt"},
		"b": {"--netns", "red", "--net", "bridge,address=10.9.0.3/24"},
		"c": {"--net", "bridge,host,address=10.9.0.2/24", "--net", "user"},
	} {
		all.Go(func() {
			if r := h.run(append([]string{"up", name, "--kernel", light, "--memory", "64M", "--timeout", "12m"}, nets...)...); r.code != 0 {
				t.Error(r)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	// With nothing to say it would end its half at once, and the passt of Debian 12 at
	// times forgets the other half's end then.
	const listens = "tail -f /dev/null | { nc -w 30 10.0.3.2 %d; killall tail; }"
	sh := func(name, script string) result { return h.run("exec", name, "--", "sh", "-c", script) }
	sh("b", `echo from b | nc -l -p 7000 > /dev/null 2>&1 & until grep -q ":1B58 " /proc/net/tcp; do sleep 0.1; done`)
	for _, c := range []struct{ name, script, want string }{
		{"a", "nc -w 30 10.9.0.3 7000", "from b"},
		{"a", fmt.Sprintf(listens, port), "hello of the host"},
		{"c", fmt.Sprintf(listens, port), "hello of the host"},
		{"a", "cat /etc/resolv.conf", "nameserver 10.0.3.3"},
		{"b", "ping -c 1 -w 30 10.9.0.1 > /dev/null && echo the bridge answers", "the bridge answers"},
	} {
		if r := sh(c.name, c.script); strings.TrimSpace(r.stdout) != c.want {
			t.Errorf("%s: %s: want %q: %s", c.name, c.script, c.want, r)
		}
	}
	if r := sh("c", "ping -c 1 -w 3 10.9.0.3"); r.code != 1 {
		t.Errorf("the other namespace's machine was reached: %s", r)
	}
	h.must("down", "a", "b", "c")
	wantLinks(t, "red", "after down")
	wantLinks(t, "", "after down")
	await(t, "passt to end", func() bool { return passts(t) == 0 })
}
