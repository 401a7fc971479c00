package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/image"
	"github.com/vmlaunch/vmlaunch/internal/agentconfig"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

const (
	machineCID = 4242
	bootTime   = 8 * time.Minute // an emulator in an emulator, on a busy machine
)

// TestLinuxMachine boots the agent as PID 1 on a real vhost-vsock device and does
// everything with it that package guest offers. It is one test because a boot
// is what takes time.
func TestLinuxMachine(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.QEMU, testenv.VhostVsock, testenv.Light)
	ns, err := netns.Open("")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	keys, err := guest.NewKeys()
	if err != nil {
		t.Fatal(err)
	}

	// Nobody listens while the guest boots: it has to try again.
	early, err := guest.ListenReady(ns, machineCID, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	port := early.Port()
	if err := early.Close(); err != nil {
		t.Fatal(err)
	}
	m := bootMachine(t, writeInitrd(t, agentconfig.Config{
		Role: agentconfig.Guest, Hostname: "under-test",
		Listen:  []string{fmt.Sprintf("vsock:%d", agentconfig.SSHPort)},
		HostKey: string(keys.Host), AuthorizedKeys: []string{keys.ClientPub},
		Notify:   agentconfig.Notify{CID: uint32(vsock.Host), Port: port}.String(),
		EchoPort: agentconfig.EchoPort,
	}), "-device", fmt.Sprintf("vhost-vsock-pci,guest-cid=%d", machineCID))
	m.waitLine(t, "ssh on vsock:22")
	t.Logf("%v from the start of QEMU to SSH", time.Since(m.started))

	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
	defer cancel()
	var statuses []string
	ready, err := guest.ListenReady(ns, machineCID, port, func(s string) { statuses = append(statuses, s) })
	if err != nil {
		t.Fatal(err)
	}
	if err := ready.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if err := ready.Close(); err != nil {
		t.Error(err)
	}
	if got := ready.Told().Extra["X_VMLAUNCH_SSH"]; got != "vsock:22" || len(statuses) != 1 {
		t.Errorf("told SSH at %q, statuses %q", got, statuses)
	}

	other, err := guest.ParsePublic(keys.ClientPub)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := guest.Dial(ctx, ns, machineCID, guest.Key{Private: keys.Client, Host: other}); !errors.Is(err, guest.ErrIdentity) {
		t.Errorf("wrong host key: %v, want ErrIdentity", err)
	}
	hostKey, err := guest.ParsePublic(keys.HostPub)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	c, err := guest.Dial(ctx, ns, machineCID, guest.Key{Private: keys.Client, Host: hostKey})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Logf("%v for a connection", time.Since(began))
	t.Run("programs", func(t *testing.T) { testPrograms(ctx, t, c) })
	t.Run("parallel", func(t *testing.T) { testParallel(ctx, t, c) })
	t.Run("reaping", func(t *testing.T) { testReaping(ctx, t, c) })
	t.Run("echo", func(t *testing.T) { testEcho(ctx, t, ns) })

	began = time.Now()
	exit, err := c.Run(ctx, guest.Command{Args: strings.Fields(agentconfig.CommandPowerOff)})
	if err != nil || exit != 0 {
		t.Errorf("poweroff: exit %d, %v", exit, err)
	}
	if err := m.wait(ctx); err != nil {
		t.Errorf("QEMU: %v", err)
	}
	t.Logf("%v for the power off", time.Since(began))
	if _, err := c.Run(ctx, guest.Command{Args: []string{"true"}}); !errors.Is(err, guest.ErrGone) {
		t.Errorf("after the power off: %v, want ErrGone", err)
	}
}

// TestFatal boots the agent without what it needs: the reason stands on the
// console, and the machine is off.
func TestFatal(t *testing.T) {
	testenv.Require(t, testenv.QEMU, testenv.Light)
	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
	defer cancel()
	for reason, config := range map[string]string{
		agentconfig.Path:         "", // no file
		`role "x"`:               `{"role":"x","listen":["vsock:22"],"hostKey":"x","authorizedKeys":["x"]}`,
		"ssh host key":           `{"role":"guest","listen":["vsock:22"],"hostKey":"x","authorizedKeys":["x"]}`,
		"load module /lib/no.ko": `{"role":"guest","listen":["vsock:22"],"hostKey":"x","authorizedKeys":["x"],"modules":["/lib/no.ko"]}`,
	} {
		m := bootMachine(t, writeArchive(t, func(a *image.Archive) error {
			if config != "" {
				a.File(agentconfig.Path, 0o600, []byte(config))
			}
			return nil
		}))
		if line := m.waitLine(t, "vmlaunch-guest: fatal: "); !strings.Contains(line, reason) {
			t.Errorf("%s: said %q", reason, line)
		}
		if err := m.wait(ctx); err != nil {
			t.Errorf("%s: QEMU: %v", reason, err)
		}
	}
}

func testPrograms(ctx context.Context, t *testing.T, c *guest.Client) {
	for _, test := range []struct {
		cmd  guest.Command
		out  string
		exit int
	}{
		{guest.Command{Args: []string{"hostname"}}, "under-test\n", 0},
		{guest.Command{Args: []string{"sh", "-c", "echo $$ >/dev/null; kill -TERM $$"}}, "", 143},
		{guest.Command{Args: []string{"sh", "-c", `echo "$A"; pwd; exit 7`}, Env: []string{"A=x y"}, Dir: "/proc"}, "x y\n/proc\n", 7},
		{guest.Command{Args: []string{"stty", "size"}, TTY: true}, "24 80\r\n", 0},
		{guest.Command{Args: []string{"tr", "a-z", "A-Z"}, Stdin: strings.NewReader("loud")}, "LOUD", 0},
		{guest.Command{Args: []string{"no-such-program"}}, "", 127},
	} {
		var out, diag strings.Builder
		test.cmd.Stdout, test.cmd.Stderr = &out, &diag
		began := time.Now()
		exit, err := c.Run(ctx, test.cmd)
		if err != nil || exit != test.exit || out.String() != test.out {
			t.Errorf("%q: exit %d, %v, said %q (%s); want %d, %q", test.cmd.Args, exit, err, out.String(), diag.String(), test.exit, test.out)
		}
		t.Logf("%q: %v", test.cmd.Args, time.Since(began))
	}
}

func testParallel(ctx context.Context, t *testing.T, c *guest.Client) {
	var all sync.WaitGroup
	for i := range 10 {
		all.Go(func() {
			if exit, err := c.Run(ctx, guest.Command{Args: []string{"sh", "-c", fmt.Sprintf("exit %d", i)}}); exit != i || err != nil {
				t.Errorf("session %d: exit %d, %v", i, exit, err)
			}
		})
	}
	all.Wait()
}

// testReaping leaves orphans to PID 1 and waits until no zombie is there.
func testReaping(ctx context.Context, t *testing.T, c *guest.Client) {
	script := `for i in 1 2 3 4 5; do (sh -c 'exit 3' &); done; while grep -q '^State:.Z' /proc/[0-9]*/status 2>/dev/null; do sleep 0.1; done`
	if exit, err := c.Run(ctx, guest.Command{Args: []string{"sh", "-c", script}}); exit != 0 || err != nil {
		t.Errorf("exit %d, %v", exit, err)
	}
}

func testEcho(ctx context.Context, t *testing.T, ns *netns.NS) {
	var conn net.Conn
	if err := ns.Do(func() (err error) {
		conn, err = vsock.Dial(ctx, machineCID, agentconfig.EchoPort)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	want := bytes.Repeat([]byte("echo"), 1<<18) // 1 MiB: more than every buffer on the way
	go func() {
		_, _ = conn.Write(want) // what is missing, the reader finds out
		_ = conn.(interface{ CloseWrite() error }).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes back of %d, %v", len(got), len(want), err)
	}
}

// A machine is a QEMU that ends with the test.
type machine struct {
	started time.Time
	lines   chan string   // the console's; closed at its end
	done    chan struct{} // closed when QEMU has ended
	err     error         // how, valid once done is closed
}

func bootMachine(t *testing.T, initrd string, more ...string) *machine {
	t.Helper()
	cmd := exec.Command("qemu-system-x86_64", append(more, "-accel", "tcg", "-cpu", "max", "-machine", "pc", "-m", "64",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", os.Getenv(testenv.LightKernel), "-initrd", initrd, "-append", "console=ttyS0 panic=-1 quiet")...)
	console, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	m := &machine{started: time.Now(), lines: make(chan string, 1000), done: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(m.done)
		for s := bufio.NewScanner(console); s.Scan(); {
			m.lines <- strings.TrimSpace(s.Text())
		}
		close(m.lines)
		m.err = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-m.done
	})
	return m
}

// waitLine returns the next line of the console that holds text.
func (m *machine) waitLine(t *testing.T, text string) string {
	t.Helper()
	late := time.After(bootTime)
	var seen []string
	for {
		select {
		case line, ok := <-m.lines:
			if strings.Contains(line, text) {
				return line
			}
			if !ok {
				t.Fatalf("no %q on the console:\n%s", text, strings.Join(seen, "\n"))
			}
			seen = append(seen, line)
		case <-late:
			t.Fatalf("no %q on the console after %v:\n%s", text, bootTime, strings.Join(seen, "\n"))
		}
	}
}

// wait waits for the end of QEMU.
func (m *machine) wait(ctx context.Context) error {
	select {
	case <-m.done:
		return m.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// writeInitrd writes an initramfs with the agent, a shell and a configuration.
func writeInitrd(t *testing.T, cfg agentconfig.Config) string {
	t.Helper()
	return writeArchive(t, func(a *image.Archive) error { return a.Config(cfg) })
}

// writeArchive writes an initramfs with the agent, a shell, and what add adds.
func writeArchive(t *testing.T, add func(*image.Archive) error) string {
	t.Helper()
	agent, err := image.Agent()
	if err != nil {
		t.Fatal(err)
	}
	shell, err := image.Busybox()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "initrd")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a := image.NewArchive(f)
	a.Base(agent)
	shell.Add(a)
	if err := add(a); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}
