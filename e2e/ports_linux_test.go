package e2e

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
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

// Issue C, 3 and 4, with a Linux guest: TCP and Unix sockets in the guest, what is on
// vsock there, a thousand connections, a reset amid it all, and another guest in its
// place. One guest serves all of it: it takes a minute to boot. That it can be reset in
// between costs another minute, so only who asks for more gets it; TestPortForward asks it of
// a probe.
func TestLinuxPorts(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes, testenv.Light, testenv.SSH)
	h := newHost(t)
	h.netns("cell", "local")
	socket := filepath.Join(t.TempDir(), oddName)
	escaped := strings.NewReplacer(`\`, `\\`, ":", `\:`).Replace(socket)
	h.must("up", "apple", "--image", "linux", "--netns", "cell", "--cid", fmt.Sprint(sameCID),
		"--publish", ":80", "--publish", ":vsock:7", "--publish", ":1", "--publish", "unix:"+escaped+":unix:/root/docker.sock")
	served := h.served("apple")
	web, echo, nobody := served[0], served[1], served[2]

	h.must("exec", "apple", "--", "sh", "-c", "mkdir -p www && echo it works > www/index.html && httpd -p 127.0.0.1:80 -h www")
	if got := getHTTP(t, web); !strings.HasSuffix(got, "it works\n") {
		t.Errorf("the guest's web server says %q", got)
	}
	wantEcho(t, "tcp", echo)
	if err := echoes("tcp", nobody, "x"); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("a port that nobody listens on: %v, want a reset", err)
	}
	if err := echoes("unix", socket, "x"); err == nil {
		t.Error("a socket that nobody listens on answers")
	}
	t.Run("ssh -L", func(t *testing.T) { h.t = t; h.wantSSHForward("apple") })
	t.Run("many at once", func(t *testing.T) { manyAtOnce(t, echo, h.crowd()) })
	t.Run("both ways intact", func(t *testing.T) { wantIntact(t, echo, h.volume()) })
	h.t = t

	if thorough() { // a minute more
		h.wantEchoOverReset("apple", echo)
	}

	h.must("up", "berry", "--image", "linux", "--netns", "cell", "--cid", "43", "--detach", "--run-as", "root")
	words := ownInitrd(t, commandLine(t, h.inspect("berry").PID))
	h.must("kill", "berry")
	moveClaim(t, h.inspect("apple").PID, 4242)
	twin(t, words, "cell", sameCID)
	deadline := time.Now().Add(commandBound)
	for dial(t, "cell", sameCID, linux.port) != nil {
		if time.Now().After(deadline) {
			t.Fatal("the other guest does not answer")
		}
	}
	h.wantRefusals(linux)
	if got, err := net.Dial("tcp", web); err == nil {
		_ = got.SetDeadline(time.Now().Add(talkTime))
		_, _ = io.WriteString(got, "GET / HTTP/1.0\r\n\r\n")
		if text, err := io.ReadAll(got); len(text) > 0 || err == nil {
			t.Errorf("a forward that was there before leads to the other guest: %q, %v", text, err)
		}
	}
}

// wantEchoOverReset resets a guest amid a conversation with its echo service.
func (h *host) wantEchoOverReset(name, echo string) {
	h.t.Helper()
	open := connect(h.t, "tcp", echo)
	if _, err := io.WriteString(open, "x"); err != nil {
		h.t.Fatal(err)
	}
	if _, err := io.ReadFull(open, make([]byte, 1)); err != nil {
		h.t.Fatal(err)
	}
	h.must("qmp", name, "system_reset")
	_ = open.SetDeadline(time.Now().Add(commandBound))
	if _, err := open.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		h.t.Errorf("after the guest's reset a connection heard %v, want ECONNRESET", err)
	}
	h.must("wait", name, "--for", "ssh", "--timeout", "5m")
	wantEcho(h.t, "tcp", echo)
}

// thorough reports whether this run has the time for what takes minutes in a nest.
func thorough() bool { return os.Getenv("VMLAUNCH_TEST_MIB") != "" }

// crowd returns how many connections are open at once: each costs a Linux guest in a nest
// a tenth of a second. The agent's own tests have a thousand, without a nest.
func (h *host) crowd() int {
	if thorough() {
		return 1000
	}
	return 100
}

// volume returns how many bytes are sent to and fro: 16 MiB, or as many MiB as
// VMLAUNCH_TEST_MIB says. A nest under emulation carries 1 or 2 in a second.
func (h *host) volume() int64 {
	if thorough() {
		return int64(number(h.t, os.Getenv("VMLAUNCH_TEST_MIB"))) << 20
	}
	return 16 << 20
}

// ownInitrd has a command line's initramfs copied: the machine's own goes with it.
func ownInitrd(t *testing.T, words []string) []string {
	t.Helper()
	for i, w := range words {
		if w != "-initrd" {
			continue
		}
		text, err := os.ReadFile(words[i+1])
		if err != nil {
			t.Fatal(err)
		}
		words[i+1] = filepath.Join(t.TempDir(), "initrd")
		if err := os.WriteFile(words[i+1], text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return words
}

func getHTTP(t *testing.T, address string) string {
	t.Helper()
	c := connect(t, "tcp", address)
	if _, err := io.WriteString(c, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("read %q: %v", text, err)
	}
	return string(text)
}

// wantSSHForward has OpenSSH forward a port to the guest's web server.
func (h *host) wantSSHForward(name string) {
	h.t.Helper()
	// -W is a forward to standard input and output.
	cmd := exec.Command("ssh", "-F", h.sshConfig(name), "-W", "localhost:80", name+".vmlaunch")
	cmd.Stdin = strings.NewReader("GET / HTTP/1.0\r\n\r\n")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "it works\n") {
		h.t.Errorf("ssh -W: %v, %q", err, out)
	}
}

// wantIntact sends bytes to an echo service and compares what comes back.
func wantIntact(t *testing.T, address string, size int64) {
	t.Helper()
	c := connect(t, "tcp", address)
	_ = c.SetDeadline(time.Now().Add(commandBound))
	sums := [2]hash.Hash{sha256.New(), sha256.New()}
	begin := time.Now()
	var sending sync.WaitGroup
	sending.Go(func() {
		if _, err := io.CopyN(io.MultiWriter(c, sums[0]), rand.NewChaCha8([32]byte{}), size); err != nil {
			t.Error(err)
		}
		_ = c.CloseWrite()
	})
	if n, err := io.Copy(sums[1], c); err != nil || n != size {
		t.Errorf("%d bytes came back, %v; want %d", n, err, size)
	}
	sending.Wait()
	if sent, got := sums[0].Sum(nil), sums[1].Sum(nil); string(sent) != string(got) {
		t.Errorf("sent %x, got %x", sent, got)
	}
	t.Logf("%d MiB both ways in %v", size>>20, time.Since(begin).Round(time.Millisecond))
}
