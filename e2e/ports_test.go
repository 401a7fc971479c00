package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// oddName is a socket's name with everything in it that some syntax gives a meaning.
const oddName = `-a, b='c' "d" \ =$(e)` + "\nf"

// talkTime bounds a conversation through a forward with a guest in a nest.
const talkTime = 2 * time.Minute

// served returns where the ports of a machine are, in the order of its flags.
func (h *host) served(name string) (listens []string) {
	h.t.Helper()
	var m struct{ Ports []string }
	h.decode(&m, "inspect", name)
	for _, p := range m.Ports {
		listens = append(listens, strings.Join(strings.Split(p, ":")[:2], ":"))
	}
	return listens
}

// connect connects to a forward of this host.
func connect(t *testing.T, network, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(talkTime))
	tcp, _ := c.(*net.TCPConn)
	return tcp
}

// wantEcho says something at a forward to an echo service, and hears it again.
func wantEcho(t *testing.T, network, address string) {
	t.Helper()
	if err := echoes(network, address, "over and out"); err != nil {
		t.Errorf("%s %s: %v", network, address, err)
	}
}

func echoes(network, address, text string) error {
	c, err := net.Dial(network, address)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(talkTime))
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return err
	}
	got, err := io.ReadAll(c)
	if err == nil && string(got) != text {
		err = fmt.Errorf("heard %q", got)
	}
	return err
}

// A forwarding is a port-forward in the foreground.
type forwarding struct {
	cmd   *exec.Cmd
	lines *bufio.Reader // standard output
}

// forward starts one; it ends with the test.
func (h *host) forward(args ...string) *forwarding {
	h.t.Helper()
	cmd := exec.Command(testenv.Binary(), append([]string{"--root", h.root, "port-forward"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return &forwarding{cmd, bufio.NewReader(out)}
}

// where returns what the next line says where it listens.
func (f *forwarding) where(t *testing.T) string {
	t.Helper()
	line, err := f.lines.ReadString('\n')
	if err != nil {
		t.Fatalf("port-forward said %q: %v", line, err)
	}
	where, _, _ := strings.Cut(line, " leads to ")
	return where
}

// Issue C, 4: declared ports come up with the machine and go with it, whatever its end.
func TestPublishedPorts(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	h := newHost(t)
	h.netns("cell", "local")
	dir := t.TempDir()
	socket := filepath.Join(dir, oddName)
	escaped := strings.NewReplacer(`\`, `\\`, ":", `\:`).Replace(socket)
	up := []string{"up", "apple", "--image", "probe", "--netns", "cell", "--publish", ":vsock:7", "--publish", "unix:" + escaped + ":vsock:7"}
	if r := h.want(0, up...); !strings.Contains(r.stdout, "leads to vsock:7 of apple") {
		t.Errorf("the ports are not told: %s", r)
	}
	address := h.served("apple")[0]
	wantEcho(t, "tcp", address)
	wantEcho(t, "unix", socket)
	if err := echoes("tcp", strings.Replace(address, "127.0.0.1", "127.0.0.2", 1), "x"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("another address than the one asked for: %v", err)
	}
	h.wantFailure(4, []string{"listen for " + address, "in use"}, "up", "berry", "--image", "probe", "--netns", "cell", "--publish", address+":vsock:7")
	if _, there := h.list()["berry"]; there {
		t.Error("a machine whose port is taken is listed")
	}
	h.must("restart", "apple")
	wantEcho(t, "unix", socket)

	// A QEMU that is killed by hand takes its ports along.
	if err := syscall.Kill(h.inspect("apple").PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "the ports to go", func() bool { return len(h.processes()) == 0 })
	await(t, "the socket to go", func() bool { _, err := os.Lstat(socket); return errors.Is(err, os.ErrNotExist) })
	h.must("start", "apple")
	wantEcho(t, "unix", socket)
	h.must("stop", "apple")
	if left := h.processes(); len(left) > 0 {
		t.Errorf("left after stop: %v", left)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left after stop: %v, %v", left, err)
	}
	h.wantFailure(2, []string{`port "127.0.0.1:8080:80"`, "vsock:PORT only"}, "up", "fig", "--image", "probe", "--publish", "8080:80")
}

// Issue C, 4: a forward in the foreground lives through a reset of the guest, and ends by
// Ctrl-C and with the machine.
func TestPortForward(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	h := newHost(t)
	h.netns("cell", "local")
	h.up(probe, "apple", "cell")
	f := h.forward("apple", ":vsock:7", ":vsock:19")
	echo, chargen := f.where(t), f.where(t)
	wantEcho(t, "tcp", echo)
	wantChargen(t, chargen)
	manyAtOnce(t, echo, 400) // a probe has room for 512

	open := connect(t, "tcp", echo)
	if _, err := io.WriteString(open, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(open, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	h.must("qmp", "apple", "system_reset")
	if _, err := open.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after the guest's reset a connection heard %v, want ECONNRESET", err)
	}
	h.must("wait", "apple", "--for", "ssh", "--timeout", "60s")
	wantEcho(t, "tcp", echo)

	if err := f.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if _ = f.cmd.Wait(); f.cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("Ctrl-C ended it with %v", f.cmd.ProcessState)
	}
	if err := echoes("tcp", echo, "x"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after Ctrl-C: %v", err)
	}
	f = h.forward("apple", ":vsock:7")
	f.where(t)
	h.must("kill", "apple")
	if _ = f.cmd.Wait(); f.cmd.ProcessState.ExitCode() != 8 {
		t.Errorf("the end of the machine ended it with %v", f.cmd.ProcessState)
	}
	h.wantFailure(4, []string{`"apple"`, "is stopped"}, "port-forward", "apple", ":vsock:7")
}

// wantChargen has a guest's chargen send some MiB.
func wantChargen(t *testing.T, address string) {
	t.Helper()
	c := connect(t, "tcp", address)
	const size = 4 << 20
	if _, err := fmt.Fprintf(c, "%d\n", size); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, c); err != nil || n != size {
		t.Errorf("chargen sent %d bytes, %v; want %d", n, err, size)
	}
}

// manyAtOnce opens n connections to an echo service, then uses all of them.
func manyAtOnce(t *testing.T, address string, n int) {
	t.Helper()
	conns := make([]*net.TCPConn, n)
	for i := range conns {
		conns[i] = connect(t, "tcp", address)
		_ = conns[i].SetDeadline(time.Now().Add(commandBound))
	}
	var all sync.WaitGroup
	for i, c := range conns {
		all.Go(func() {
			defer c.Close()
			text := fmt.Sprintf("connection %d", i)
			if _, err := io.WriteString(c, text); err != nil {
				t.Errorf("%s: %v", text, err)
			}
			_ = c.CloseWrite()
			if got, err := io.ReadAll(c); err != nil || string(got) != text {
				t.Errorf("%s: heard %q, %v", text, got, err)
			}
		})
	}
	all.Wait()
}
