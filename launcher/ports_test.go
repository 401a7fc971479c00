package launcher

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/internal/fakeqemu"
)

// portSpec describes a machine with a double of QEMU and two ports, one a socket in dir.
func (b *bench) portSpec(dir string) configs.Machine {
	spec := b.fakeSpec(fakeqemu.Behaviour{})
	spec.Ports = []string{":vsock:7", "unix:" + filepath.Join(dir, "-a, b=c") + ":vsock:7"}
	return spec
}

// wantQuiet asks that nothing of the ports is left: who served them, and their socket.
func (b *bench) wantQuiet(dir string) {
	b.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		left, err := os.ReadDir(dir)
		if err != nil {
			b.t.Fatal(err)
		}
		ids := b.processes()
		if len(left) == 0 && len(ids) == 0 {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("left: %v, %v", left, ids)
		}
		if err := pause(b.t.Context()); err != nil {
			b.t.Fatal(err)
		}
	}
}

// TestPortsComeAndGo has a machine's ports listen from before its QEMU runs until it has
// ended, however it ends.
func TestPortsComeAndGo(t *testing.T) {
	for name, end := range map[string]func(*bench) error{
		"stop": func(b *bench) error { return b.Stop(b.t.Context(), "web", 10*time.Second) },
		"kill": func(b *bench) error { return b.Kill(b.t.Context(), "web") },
		"by hand": func(b *bench) error {
			m, err := b.record(b.t.Context(), "web")
			return errors.Join(err, m.QEMU.Signal(syscall.SIGKILL))
		},
		"the forwarder too": func(b *bench) error {
			var errs []error
			for _, id := range b.processes() {
				errs = append(errs, id.Signal(syscall.SIGKILL))
			}
			_, err := b.Reconcile(b.t.Context())
			return errors.Join(append(errs, err, b.Stop(b.t.Context(), "web", 0))...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, dir := newBench(t, true), t.TempDir()
			b.launch(b.portSpec(dir), Detached())
			served := b.Ports("web")
			if len(served) != 2 || strings.HasPrefix(served[0], "127.0.0.1:0:") {
				t.Fatalf("served: %q", served)
			}
			for _, s := range served {
				f, err := configs.ParseForward(s)
				if err != nil {
					t.Fatal(err)
				}
				address := f.Listen.Path
				if address == "" {
					address = f.Listen.HostPort()
				}
				c, err := net.Dial(f.Listen.Network, address)
				if err != nil {
					t.Errorf("%s: %v", s, err)
					continue
				}
				_ = c.Close()
			}
			if err := end(b); err != nil {
				t.Fatal(err)
			}
			b.wantQuiet(dir)
			if err := b.Down(t.Context(), "web", 0); err != nil {
				t.Fatal(err)
			}
			b.wantNothing()
			if served := b.Ports("web"); len(served) != 0 {
				t.Errorf("served of a machine that is gone: %q", served)
			}
		})
	}
}

// TestLaunchWithPortsFailsCleanAtEveryStep breaks such a launch off.
func TestLaunchWithPortsFailsCleanAtEveryStep(t *testing.T) {
	for _, step := range []string{"daemons", "qemu", "pid", "running"} {
		t.Run(step, func(t *testing.T) {
			b, dir := newBench(t, true), t.TempDir()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			b.Step = func(name string) {
				if name == step {
					cancel()
				}
			}
			if _, err := b.Launch(ctx, b.portSpec(dir)); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want the cause", err)
			}
			b.wantQuiet(dir)
			b.wantNothing()
		})
	}
}

// TestKillWithPorts kills the launcher before and behind the start of QEMU.
func TestKillWithPorts(t *testing.T) {
	for _, step := range []string{"qemu", "pid", "running"} {
		t.Run(step, func(t *testing.T) {
			b, dir := newBench(t, true), t.TempDir()
			b.killAt(step, "up", b.portSpec(dir))
			if _, err := b.Reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			b.wantQuiet(dir)
		})
	}
}

// TestTakenPort has somebody else listen where a machine's port was to be.
func TestTakenPort(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket := filepath.Join(dir, "s")
	u, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, listen := range []string{l.Addr().String(), "unix:" + socket, "unix:" + file} {
		b := newBench(t, true)
		spec := b.fakeSpec(fakeqemu.Behaviour{})
		spec.Ports = []string{listen + ":vsock:7"}
		_, err := b.Launch(t.Context(), spec)
		if e, ok := errors.AsType[*ListenError](err); !ok || !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v (%v), want a ListenError", listen, err, e)
		}
		b.wantNothing()
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "text" {
		t.Errorf("the file that was there: %q, %v", text, err)
	}
	if _, err := os.Lstat(socket); err != nil {
		t.Errorf("the socket that was there: %v", err)
	}
}

// TestStaleSocketIsReplaced leaves a socket that nobody listens on.
func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	f, err := Listen(t.Context(), configs.Forward{Listen: configs.Endpoint{Network: "unix", Path: path}})
	if err != nil {
		t.Fatal(err)
	}
	f.Listener.Close()
}
