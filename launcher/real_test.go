package launcher

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/cidalloc"
	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// The tests in this file need /dev/vhost-vsock and a real QEMU; they run in a
// nest. Everything in them is real.

func (b *bench) probeSpec(name, netns, mode string, cid uint32) configs.Machine {
	if netns != "" {
		netns = b.netnsName(netns)
	}
	return configs.Machine{
		Name: name, Image: configs.ImageProbe, Netns: netns, Vsock: mode, CID: cid,
		Accel: configs.AccelTCG, ReadyTimeout: configs.Duration(time.Minute),
	}
}

// wantAnswer asks the probe guest called name who it is.
func (b *bench) wantAnswer(name string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	p, err := b.Probe(ctx, name)
	if err != nil {
		b.t.Errorf("%s does not answer: %v", name, err)
		return
	}
	defer p.Close()
	if got := p.Hello().Name; got != name {
		b.t.Errorf("%s says it is %q", name, got)
	}
}

func TestRealProbe(t *testing.T) {
	b := newBench(t, false)
	for _, board := range []string{configs.BoardPC, configs.BoardQ35} {
		spec := b.probeSpec("web", "", "", 0)
		spec.Board = board
		m := b.launch(spec)
		if m.Ready.IsZero() || !m.CID.Guest() {
			t.Errorf("%s: launched %+v, want it ready with a CID", board, m)
		}
		b.wantAnswer("web")
		if err := b.Stop(t.Context(), "web", 20*time.Second); err != nil {
			t.Fatal(err)
		}
		v, err := b.Inspect(t.Context(), "web")
		if err != nil || v.State != Stopped {
			t.Errorf("%s: %+v, %v, want it stopped", board, v, err)
		}
		if text := string(readTail(b.Logs("web").QEMU)); !strings.Contains(text, "reason=6") {
			t.Errorf("%s: the guest was not asked; QEMU's log: %s", board, text)
		}
		again, err := b.Start(t.Context(), "web")
		if err != nil || again.CID != m.CID {
			t.Fatalf("%s: start: %+v, %v, want CID %d", board, again, err, m.CID)
		}
		b.wantAnswer("web")
		if err := b.Down(t.Context(), "web", 20*time.Second); err != nil {
			t.Fatal(err)
		}
		b.wantNothing()
	}
}

// TestRealTwinsWithOneCID is what this program is for.
func TestRealTwinsWithOneCID(t *testing.T) {
	testenv.Require(t, testenv.VsockModes)
	b := newBench(t, false)
	for _, name := range []string{"red", "blue"} {
		b.launch(b.probeSpec(name, name, configs.VsockLocal, 42))
	}
	b.launch(b.probeSpec("here", "", "", 42)) // the host's own, global
	for _, name := range []string{"red", "blue", "here"} {
		b.wantAnswer(name)
	}
	_, err := b.Launch(t.Context(), b.probeSpec("late", "other", configs.VsockGlobal, 42))
	taken, ok := errors.AsType[*cidalloc.TakenError](err)
	if !ok || taken.Foreign || !strings.Contains(taken.Holder, `"here"`) {
		t.Errorf("got %v, want it taken by machine here", err)
	}
	if s := b.state("late"); s != "" {
		t.Errorf("the refused machine is %s, want none", s)
	}
	for _, name := range []string{"red", "blue", "here"} {
		if err := b.Down(t.Context(), name, 20*time.Second); err != nil {
			t.Error(err)
		}
	}
	b.wantNothing()
}

func TestRealKillAtEveryStep(t *testing.T) {
	testenv.Require(t, testenv.VsockModes)
	for _, step := range Steps() {
		t.Run(step, func(t *testing.T) {
			b := newBench(t, false)
			spec := b.probeSpec("web", "cell", configs.VsockLocal, 42)
			b.killAt(step, "up", spec)
			if _, err := b.Reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			if step != "keep" {
				b.wantNothing()
			}
			if _, err := b.Up(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
			b.wantAnswer("web")
			if err := b.Down(t.Context(), "web", 0); err != nil {
				t.Fatal(err)
			}
			b.wantNothing()
		})
	}
}

// TestRealKilledQEMU kills QEMU under us; its CID is free again for the same
// machine at once.
func TestRealKilledQEMU(t *testing.T) {
	b := newBench(t, false)
	m := b.launch(b.probeSpec("web", "", "", 77))
	if err := m.QEMU.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := b.Wait(t.Context(), "web", ForStopped); err != nil {
		t.Fatal(err)
	}
	if s := b.state("web"); s != Failed {
		t.Errorf("got %s, want failed", s)
	}
	again, err := b.Up(t.Context(), b.probeSpec("web", "", "", 0))
	if err != nil || again.CID != 77 {
		t.Fatalf("got %+v, %v, want CID 77 again", again, err)
	}
	b.wantAnswer("web")
}

func TestRealDetachedThenWait(t *testing.T) {
	b := newBench(t, false)
	m := b.launch(b.probeSpec("web", "", "", 0), Detached())
	if !m.Ready.IsZero() {
		t.Error("nobody waited, but it is recorded as ready")
	}
	if err := b.Wait(t.Context(), "web", ForReady); err != nil {
		t.Fatal(err)
	}
	if v, err := b.Inspect(t.Context(), "web"); err != nil || !v.Ready {
		t.Errorf("got %+v, %v, want it ready", v, err)
	}
	if err := b.Wait(t.Context(), "web", ForSSH); err != nil {
		t.Errorf("wait for its control port: %v", err)
	}
}

// TestRealStopFreesTheCID asks the kernel, at once.
func TestRealStopFreesTheCID(t *testing.T) {
	b := newBench(t, false)
	m := b.launch(b.probeSpec("web", "", "", 0))
	if err := b.Kill(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	g, err := vsock.Hold(m.CID)
	if err != nil {
		t.Fatalf("CID %d after kill: %v", m.CID, err)
	}
	defer g.Close()
	err = b.Store.View(t.Context(), func(tx *store.Tx) error {
		lease, err := tx.Lease(m.Space, m.CID)
		if lease.Machine != "web" {
			t.Errorf("the stopped machine has lost its number: %+v", lease)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	_, err = b.Start(t.Context(), "web")
	if taken, ok := errors.AsType[*cidalloc.TakenError](err); !ok {
		t.Errorf("start while a stranger has the CID: got %v, want a TakenError", err)
	} else if !taken.Foreign {
		t.Logf("holder: %s", taken.Holder)
	}
	if s := b.state("web"); s != Stopped {
		t.Errorf("after the refused start: %s, want stopped", s)
	}
}

// TestRealRunEndsWithItsGuest powers the guest off from inside.
func TestRealRunEndsWithItsGuest(t *testing.T) {
	b := newBench(t, false)
	exit, err := b.Run(t.Context(), b.probeSpec("web", "", "", 0), func(ctx context.Context, m store.Machine) error {
		if err := b.Wait(ctx, m.Name, ForReady); err != nil {
			return err
		}
		p, err := b.Probe(ctx, m.Name)
		if err != nil {
			return err
		}
		defer p.Close()
		_, _ = p.Do(ctx, "OFF")
		return m.QEMU.Wait(ctx)
	})
	if exit != 0 || err != nil {
		t.Errorf("got %d, %v, want 0", exit, err)
	}
	b.wantNothing()
}

// lightKernel is the kernel that testenv.Light has found.
func lightKernel() string { return os.Getenv(testenv.LightKernel) }

func TestRealLinux(t *testing.T) {
	testenv.Require(t, testenv.Light)
	b := newBench(t, false)
	spec := configs.Machine{Name: "web", Kernel: lightKernel(), Accel: configs.AccelTCG}
	spec.Netns = b.netnsName("cell")
	spec.Vsock = configs.VsockGlobal
	m := b.launch(spec)
	c, err := b.Client(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	exit, err := c.Run(t.Context(), guest.Command{Args: []string{"hostname"}, Stdout: &out})
	c.Close()
	if exit != 0 || err != nil || strings.TrimSpace(out.String()) != "web" {
		t.Errorf("hostname: %q, %d, %v", out.String(), exit, err)
	}
	if err := b.Stop(t.Context(), "web", time.Minute); err != nil {
		t.Fatal(err)
	}
	if text := string(readTail(b.Logs("web").QEMU)); !strings.Contains(text, "reason=6") {
		t.Errorf("the guest was not asked; QEMU's log: %s", text)
	}
	again, err := b.Start(t.Context(), "web")
	if err != nil || again.CID != m.CID {
		t.Errorf("start: %+v, %v, want CID %d", again, err, m.CID)
	}
	if err := b.Down(t.Context(), "web", 0); err != nil {
		t.Fatal(err)
	}
	b.wantNothing()
}

// TestRealLinuxPanicIsABootError boots a kernel without an init.
func TestRealLinuxPanicIsABootError(t *testing.T) {
	testenv.Require(t, testenv.Light)
	b := newBench(t, false)
	spec := configs.Machine{Name: "web", Kernel: lightKernel(), Append: "rdinit=/nowhere init=/nowhere", Accel: configs.AccelTCG}
	_, err := b.Launch(t.Context(), spec)
	boot, ok := errors.AsType[*BootError](err)
	if !ok || !slices.ContainsFunc(boot.Tail, func(s string) bool { return strings.Contains(s, "panic") }) {
		t.Fatalf("got %v, want a BootError with the panic", err)
	}
	if s := b.state("web"); s != Failed {
		t.Errorf("the machine is %s, want failed and kept", s)
	}
}

// TestRealLocalNeedsModes asks an older kernel for what it has not.
func TestRealLocalNeedsModes(t *testing.T) {
	testenv.Require(t, testenv.NoModes)
	b := newBench(t, false)
	_, err := b.Launch(t.Context(), b.probeSpec("web", "cell", configs.VsockLocal, 42))
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "needs Linux 7.0 or later") {
		t.Errorf("got %v, want it refused with the reason", err)
	}
	b.wantNothing()
	b.launch(b.probeSpec("web", "cell", configs.VsockGlobal, 42))
	b.wantAnswer("web")
	_, err = b.Launch(t.Context(), b.probeSpec("db", "", "", 42))
	if taken, ok := errors.AsType[*cidalloc.TakenError](err); !ok || !strings.Contains(taken.Holder, `"web"`) {
		t.Errorf("got %v, want it taken by machine web", err)
	}
}

// TestRealWrongNamespace asks for namespaces that can't be had.
func TestRealWrongNamespace(t *testing.T) {
	testenv.Require(t, testenv.VsockModes)
	b := newBench(t, false)
	_, err := b.Launch(t.Context(), b.probeSpec("web", "nowhere", "", 0))
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "vmlaunch netns create") {
		t.Errorf("missing namespace: got %v, want fs.ErrNotExist with the way out", err)
	}
	name := b.netnsName("there")
	ns, err := netns.Create(name, vsock.Local)
	if err != nil {
		t.Fatal(err)
	}
	defer netns.Remove(name)
	defer ns.Close()
	_, err = b.Launch(t.Context(), b.probeSpec("web", "there", configs.VsockGlobal, 0))
	if mode, ok := errors.AsType[*ModeError](err); !ok || mode.Have != vsock.Local || !errors.Is(err, fs.ErrExist) {
		t.Errorf("other mode: got %v, want a ModeError", err)
	}
	if _, err := b.Launch(t.Context(), b.probeSpec("web", "", configs.VsockLocal, 0)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("local in the host's own: got %v, want a ModeError", err)
	}
	b.launch(b.probeSpec("web", "there", "", 0), Detached())
	if err := b.Down(t.Context(), "web", 0); err != nil {
		t.Fatal(err)
	}
	if again, err := netns.Open(name); err != nil {
		t.Errorf("a namespace that was there before is gone: %v", err)
	} else {
		again.Close()
	}
}
