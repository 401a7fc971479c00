package fakeqemu_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/internal/fakeqemu"
	"github.com/vmlaunch/vmlaunch/qmp"
)

func TestMain(m *testing.M) {
	fakeqemu.Main()
	os.Exit(m.Run())
}

// short is long enough for a fake that would answer to have answered.
const short = 100 * time.Millisecond

// A peer is a fake QEMU that was started as the launcher starts a real one.
type peer struct {
	dir     string // has the sockets: qmp, console; and console.log
	cmd     *exec.Cmd
	stderr  bytes.Buffer // complete after wait
	waiting chan error
}

// start starts a fake QEMU with more arguments and more descriptors, of which
// the first is number 4.
func start(t *testing.T, b fakeqemu.Behaviour, args []string, files ...*os.File) *peer {
	t.Helper()
	dir, err := os.MkdirTemp("", "fake")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	listener, err := qmp.Listen(filepath.Join(dir, "qmp"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	p := &peer{dir: dir, waiting: make(chan error, 1)}
	p.cmd = exec.Command(fakeqemu.Install(t, b), append([]string{
		"-S", "-nodefaults", "-smp", "3",
		"-chardev", "socket,id=qmp,fd=3,server=on,wait=off", "-mon", "chardev=qmp,mode=control",
		"-chardev", "socket,id=console,path=" + p.path("console") + ",server=on,wait=off,logfile=" + p.path("console.log"),
		"-serial", "chardev:console",
	}, args...)...)
	p.cmd.Stderr = &p.stderr
	p.cmd.ExtraFiles = append([]*os.File{listener}, files...)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.waiting <- p.cmd.Wait() }()
	t.Cleanup(func() { p.cmd.Process.Kill() })
	return p
}

func (p *peer) path(name string) string { return filepath.Join(p.dir, name) }

func (p *peer) dial(t *testing.T) *qmp.Client {
	t.Helper()
	c, err := qmp.Dial(t.Context(), p.path("qmp"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// exit waits for the fake's end and returns its exit code, -1 after a signal.
func (p *peer) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-p.waiting:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(20 * time.Second):
		t.Fatal("the fake still runs")
	}
	return 0
}

func await(t *testing.T, events *qmp.Subscription, name string) qmp.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	e, err := events.Await(ctx, name)
	if err != nil {
		t.Fatalf("wait for %s: %v", name, err)
	}
	return e
}

func TestDieAtStart(t *testing.T) {
	p := start(t, fakeqemu.Behaviour{DieAtStart: "it's broken", Exit: 7}, nil)
	if _, err := qmp.Dial(t.Context(), p.path("qmp")); !errors.Is(err, qmp.ErrGone) {
		t.Errorf("dial: %v, want ErrGone", err)
	}
	if code := p.exit(t); code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}
	if got, want := p.stderr.String(), "qemu-system-x86_64: it's broken\n"; got != want {
		t.Errorf("it said %q, want %q", got, want)
	}
}

func TestMute(t *testing.T) {
	p := start(t, fakeqemu.Behaviour{Mute: true}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), short)
	defer cancel()
	if _, err := qmp.Dial(ctx, p.path("qmp")); !errors.Is(err, qmp.ErrBusy) {
		t.Errorf("dial: %v, want ErrBusy", err)
	}
}

func TestHangOn(t *testing.T) {
	p := start(t, fakeqemu.Behaviour{HangOn: "cont"}, nil)
	c := p.dial(t)
	for _, call := range []func(context.Context) error{c.Cont, c.Stop} {
		ctx, cancel := context.WithTimeout(t.Context(), short)
		if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want deadline exceeded", err)
		}
		cancel()
	}
}

func TestDieOn(t *testing.T) {
	p := start(t, fakeqemu.Behaviour{DieOn: "cont"}, nil)
	if err := p.dial(t).Cont(t.Context()); !errors.Is(err, qmp.ErrGone) {
		t.Errorf("got %v, want ErrGone", err)
	}
	p.exit(t)
	if s := p.cmd.ProcessState.Sys().(syscall.WaitStatus); s.Signal() != syscall.SIGKILL {
		t.Errorf("it ended by %v, want SIGKILL", p.cmd.ProcessState)
	}
}

func TestLeaveOn(t *testing.T) {
	p := start(t, fakeqemu.Behaviour{LeaveOn: "cont"}, nil)
	if err := p.dial(t).Cont(t.Context()); !errors.Is(err, qmp.ErrGone) {
		t.Errorf("got %v, want ErrGone", err)
	}
	if s, err := p.dial(t).Status(t.Context()); err != nil || s.Running {
		t.Errorf("dialed again: %+v, %v, want it alive and paused", s, err)
	}
}

func TestAnswersGoneWrong(t *testing.T) {
	var protocol *qmp.ProtocolError
	c := start(t, fakeqemu.Behaviour{GarbageOn: "query-status", Garbage: "fnord"}, nil).dial(t)
	if _, err := c.Status(t.Context()); !errors.As(err, &protocol) || protocol.Line != "fnord" {
		t.Errorf("got %v, want a ProtocolError about fnord", err)
	}

	var refused *qmp.Error
	c = start(t, fakeqemu.Behaviour{RefuseOn: "cont"}, nil).dial(t)
	if err := c.Cont(t.Context()); !errors.As(err, &refused) || refused.Class != qmp.GenericError {
		t.Errorf("got %v, want a refusal", err)
	}

	c = start(t, fakeqemu.Behaviour{TwiceOn: "query-status", PadOn: "query-status"}, nil).dial(t)
	for range 3 {
		var answer struct{ Padding string }
		if err := c.Execute(t.Context(), "query-status", nil, &answer); err != nil || len(answer.Padding) != 1<<20 {
			t.Errorf("got %d bytes of padding, %v, want 1 MiB", len(answer.Padding), err)
		}
		if _, err := c.Version(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestGlue(t *testing.T) {
	c := start(t, fakeqemu.Behaviour{Glue: true}, nil).dial(t)
	await(t, c.SubscribeAll(), "RESUME")
}

func TestPowerButton(t *testing.T) {
	t.Run("obeyed", func(t *testing.T) {
		p := start(t, fakeqemu.Behaviour{}, nil)
		c := p.dial(t)
		events := c.Subscribe()
		if err := errors.Join(c.Cont(t.Context()), c.Powerdown(t.Context())); err != nil {
			t.Fatal(err)
		}
		if e := await(t, events, "SHUTDOWN"); e.Data["guest"] != true || e.Data["reason"] != "guest-shutdown" {
			t.Errorf("got %v, want the guest's shutdown", e.Data)
		}
		if code := p.exit(t); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
	})
	t.Run("obeyed when the guest runs again", func(t *testing.T) {
		p := start(t, fakeqemu.Behaviour{}, nil)
		c := p.dial(t)
		if err := c.Powerdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s, err := c.Status(t.Context()); err != nil || s.Status != "prelaunch" {
			t.Errorf("got %+v, %v, want prelaunch", s, err)
		}
		if err := c.Cont(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.exit(t)
	})
	t.Run("ignored", func(t *testing.T) {
		c := start(t, fakeqemu.Behaviour{IgnorePowerdown: true}, nil).dial(t)
		if err := errors.Join(c.Cont(t.Context()), c.Powerdown(t.Context())); err != nil {
			t.Fatal(err)
		}
		if s, err := c.Status(t.Context()); err != nil || !s.Running {
			t.Errorf("got %+v, %v, want it running", s, err)
		}
	})
}

func TestGuestThatShutsDownAtBoot(t *testing.T) {
	p := start(t, fakeqemu.Behaviour{PanicAtBoot: true, Console: "Kernel panic", Exit: 3}, nil)
	if err := p.dial(t).Cont(t.Context()); err != nil && !errors.Is(err, qmp.ErrGone) {
		t.Errorf("cont: %v", err)
	}
	if code := p.exit(t); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	if log, err := os.ReadFile(p.path("console.log")); err != nil || string(log) != "Kernel panic\r\n" {
		t.Errorf("console log is %q, %v", log, err)
	}
}

func TestConsole(t *testing.T) {
	p := start(t, fakeqemu.Behaviour{}, nil)
	c := p.dial(t)
	conn, err := net.Dial("unix", p.path("console"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("typed\r\n")); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	if got, err := in.ReadString('\n'); got != "typed\r\n" {
		t.Errorf("echo is %q, %v", got, err)
	}
	if err := c.Cont(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := in.ReadString('\n'); got != "fakeqemu: booted\r\n" {
		t.Errorf("got %q, %v, want the guest's greeting", got, err)
	}
	if log, err := os.ReadFile(p.path("console.log")); err != nil || string(log) != "typed\r\nfakeqemu: booted\r\n" {
		t.Errorf("console log is %q, %v", log, err)
	}
}

// TestVhostDescriptor is about the descriptor that holds a CID: it has to be
// open in QEMU for as long as QEMU lives.
func TestVhostDescriptor(t *testing.T) {
	held, err := os.Create(filepath.Join(t.TempDir(), "vhost"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	for _, device := range []string{
		"vhost-vsock-pci,guest-cid=7,vhostfd=4",
		`{"driver":"vhost-vsock-pci","guest-cid":7,"vhostfd":"4"}`,
	} {
		p := start(t, fakeqemu.Behaviour{}, []string{"-device", device}, held)
		p.dial(t)
		got, err := os.Readlink("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/fd/4")
		if err != nil || got != held.Name() {
			t.Errorf("%s: descriptor 4 is %q, %v, want %q", device, got, err, held.Name())
		}
	}
	p := start(t, fakeqemu.Behaviour{}, []string{"-device", "vhost-vsock-pci,guest-cid=7,vhostfd=77"})
	if code := p.exit(t); code != 1 || !strings.Contains(p.stderr.String(), "bad file descriptor") {
		t.Errorf("exit code %d, said %q, want 1 and bad file descriptor", code, p.stderr.String())
	}
}

func TestTerminated(t *testing.T) {
	p := start(t, fakeqemu.Behaviour{}, nil)
	c := p.dial(t)
	events := c.Subscribe()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if e := await(t, events, "SHUTDOWN"); e.Data["reason"] != "host-signal" || e.Data["guest"] != false {
		t.Errorf("got %v, want the host's signal", e.Data)
	}
	if code := p.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	for _, name := range []string{"qmp", "console"} {
		if _, err := os.Stat(p.path(name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("socket %s is still there: %v", name, err)
		}
	}
}

func TestCPUs(t *testing.T) {
	p := start(t, fakeqemu.Behaviour{}, nil)
	var cpus []struct {
		Thread int `json:"thread-id"`
	}
	if err := p.dial(t).Execute(t.Context(), "query-cpus-fast", nil, &cpus); err != nil {
		t.Fatal(err)
	}
	if len(cpus) != 3 || cpus[0].Thread != p.cmd.Process.Pid {
		t.Errorf("got %+v, want 3 of process %d", cpus, p.cmd.Process.Pid)
	}
}

func TestRefusedCommandLines(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-accel", "kvm"}, "KVM"},
		{[]string{"-smp", "none"}, "cpus"},
		{[]string{"-mon", "chardev=absent,mode=control"}, `"absent" not found`},
		{[]string{"-serial", "chardev:absent"}, "absent"},
		{[]string{"-chardev", "socket,id=x,fd=0,server=on,wait=off", "-mon", "chardev=x,mode=control"}, "'0' is not a socket"},
		{[]string{"-chardev", "socket,id=x,path=/nowhere/x,server=on,wait=off", "-mon", "chardev=x,mode=control"}, "no such file"},
		{[]string{"-chardev", "pty,id=x", "-serial", "chardev:x"}, "'pty' is not a valid char driver"},
		{[]string{"-device", "vhost-vsock-pci"}, "guest-cid"},
	} {
		out, err := exec.Command(fakeqemu.Install(t, fakeqemu.Behaviour{}), c.args...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), c.want) {
			t.Errorf("%q: %v, said %q, want exit code 1 and %q", c.args, err, out, c.want)
		}
	}
}

func TestVersion(t *testing.T) {
	out, err := exec.Command(fakeqemu.Install(t, fakeqemu.Behaviour{}), "--version").Output()
	if err != nil || !strings.HasPrefix(string(out), "QEMU emulator version 7.2.22") {
		t.Errorf("got %q, %v", out, err)
	}
}
