package launcher

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/internal/fakeqemu"
	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// The tests in this file have a double of QEMU, real bridges and taps, and a real
// passt.

// netSpec is fakeSpec with a bridge and passt, in a namespace that is there.
func (b *bench) netSpec() configs.Machine {
	b.t.Helper()
	testenv.Require(b.t, testenv.Root, testenv.Passt)
	b.t.Setenv(envBench, b.root) // passt inherits it
	spec := b.fakeSpec(fakeqemu.Behaviour{})
	spec.Vsock = ""
	spec.Networks = []configs.Network{{Kind: configs.NetBridge}, {Kind: configs.NetPasst}}
	if err := b.CreateNetns(b.t.Context(), spec.Netns, vsock.Global); err != nil {
		b.t.Fatal(err)
	}
	return spec
}

// envBench is a variable by which the processes of a bench are known.
const envBench = "VMLAUNCH_TEST_BENCH"

func (b *bench) passts() []proc.ID {
	b.t.Helper()
	ids, err := proc.Marked(envBench + "=" + b.root)
	if err != nil {
		b.t.Fatal(err)
	}
	return slices.DeleteFunc(ids, func(id proc.ID) bool {
		args, err := proc.Cmdline(id.PID)
		return err != nil || len(args) == 0 || !strings.Contains(args[0], "passt")
	})
}

// awaitNoPasst waits until all have ended by themselves.
func (b *bench) awaitNoPasst() {
	b.t.Helper()
	for _, id := range b.passts() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := id.Wait(ctx); err != nil {
			b.t.Errorf("a passt outlives its QEMU: %v", err)
		}
	}
}

// interfaces lists what there is in the bench's namespace besides lo.
func (b *bench) interfaces() []string {
	b.t.Helper()
	ns, err := netns.Open(b.netnsName(""))
	if err != nil {
		b.t.Fatal(err)
	}
	defer ns.Close()
	var text []byte
	if err := ns.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/dev")
		return err
	}); err != nil {
		b.t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		if name, _, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && name != "lo" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (b *bench) wantInterfaces(when string, want ...string) {
	b.t.Helper()
	if have := b.interfaces(); !slices.Equal(have, want) {
		b.t.Errorf("%s: interfaces %q, want %q", when, have, want)
	}
}

// wantNoNetwork asks that nothing at all is left, and removes the namespace.
func (b *bench) wantNoNetwork(when string) {
	b.t.Helper()
	b.wantInterfaces(when)
	b.awaitNoPasst()
	if err := b.RemoveNetns(context.Background(), b.netnsName("")); err != nil {
		b.t.Fatal(err)
	}
	b.wantNothing()
}

// TestNetworkComesAndGoes goes through the life of two machines.
func TestNetworkComesAndGoes(t *testing.T) {
	b := newBench(t, true)
	spec := b.netSpec()
	m := b.launch(spec, Detached())
	other := spec
	other.Name, other.CID, other.Networks = "db", 43, spec.Networks[:1]
	d := b.launch(other, Detached())
	b.wantInterfaces("two machines", "vml0", "vml1", "vmlaunch0")
	if len(b.passts()) != 1 {
		t.Errorf("daemons: %v, want one passt", b.passts())
	}
	mine, his := m.NICs[0], d.NICs[0]
	if mine.Address == his.Address || mine.Address.Masked() != his.Address.Masked() || mine.Tap != "vml0" || his.Tap != "vml1" {
		t.Errorf("got %+v and %+v", mine, his)
	}
	if err := m.QEMU.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	b.awaitNoPasst() // passt has ended by itself
	if err := b.Stop(t.Context(), "web", 0); err != nil {
		t.Fatal(err)
	}
	b.wantInterfaces("one is down", "vml1", "vmlaunch0")
	if err := b.Down(t.Context(), "db", 0); err != nil {
		t.Fatal(err)
	}
	b.wantInterfaces("the other one is gone", "vmlaunch0")
	again, err := b.Start(t.Context(), "web", Detached())
	if err != nil || again.NICs[0] != mine || again.NICs[1] != m.NICs[1] {
		t.Errorf("started again: %+v, %v, want %+v", again.NICs, err, m.NICs)
	}
	b.wantInterfaces("started again", "vml0", "vmlaunch0")
	if err := b.Down(t.Context(), "web", 0); err != nil {
		t.Fatal(err)
	}
	b.wantNoNetwork("down")
}

// TestNetworkFailsClean breaks a launch off, and kills one, at every step.
func TestNetworkFailsClean(t *testing.T) {
	for _, step := range Steps()[:len(Steps())-1] {
		t.Run("cancel "+step, func(t *testing.T) {
			b := newBench(t, true)
			spec := b.netSpec()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			b.Step = func(name string) {
				if name == step {
					cancel()
				}
			}
			if _, err := b.Launch(ctx, spec); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want the cause", err)
			}
			b.wantNoNetwork("canceled at " + step)
		})
	}
	for _, step := range Steps() {
		t.Run("kill "+step, func(t *testing.T) {
			b := newBench(t, true)
			spec := b.netSpec()
			b.killAt(step, "up", spec)
			if _, err := b.Reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			if b.state("web") == Running {
				if err := b.Down(t.Context(), "web", 0); err != nil {
					t.Fatal(err)
				}
			}
			b.wantNoNetwork("killed at " + step)
		})
	}
}

// TestNetworkRemovalIsKilled kills the removal of the last machine.
func TestNetworkRemovalIsKilled(t *testing.T) {
	for _, step := range []string{"stop:quit", "stop:daemons", "stop:done", "rm:record", "rm:network", "rm:netns", "rm:ledger"} {
		t.Run(step, func(t *testing.T) {
			b := newBench(t, true)
			spec := b.netSpec()
			b.launch(spec, Detached())
			b.killAt(step, "down", spec)
			if _, err := b.Reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := b.record(t.Context(), "web"); err == nil {
				if err := b.Down(t.Context(), "web", 0); err != nil {
					t.Fatal(err)
				}
			}
			b.wantNoNetwork("killed at " + step)
		})
	}
}

// TestNetworkRefusals asks for what can't be had; nothing is left of it.
func TestNetworkRefusals(t *testing.T) {
	b := newBench(t, true)
	spec := b.netSpec()
	for text, want := range map[string]error{
		"bridge=none0":             fs.ErrNotExist,
		"tap=none0":                fs.ErrNotExist,
		"bridge=-n=\"'é":           fs.ErrNotExist,
		"bridge,address=::1/64":    nil,
		"bridge=lo":                nil,
		"tap=lo":                   nil,
		"bridge,address=1.2.3.4/8": nil,
	} {
		n, err := configs.ParseNetwork(text)
		if err != nil {
			t.Fatal(err)
		}
		one := spec
		one.Networks = []configs.Network{n}
		_, err = b.Launch(t.Context(), one, Detached())
		if text == "bridge,address=1.2.3.4/8" { // odd, and fine
			if err != nil {
				t.Error(err)
			}
			b.wantInterfaces(text, "vml0", "vmlaunch0")
			if err := b.Down(t.Context(), one.Name, 0); err != nil {
				t.Error(err)
			}
			continue
		}
		var mistakes configs.Errors
		if want != nil && !errors.Is(err, want) || want == nil && !errors.As(err, &mistakes) {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
		b.wantInterfaces(text)
	}
	home := spec
	home.Netns, home.Networks = "", []configs.Network{{Kind: configs.NetBridge}}
	if _, err := b.Launch(t.Context(), home, Detached()); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("bridge in the host's own namespace: %v, want fs.ErrPermission", err)
	}
	b.wantNoNetwork("refused")
}

// TestPasstFails has a passt that can't serve: the launch says so.
func TestPasstFails(t *testing.T) {
	b := newBench(t, true)
	spec := b.netSpec()
	bin := t.TempDir()
	syscall.ForkLock.RLock() // a child born now would keep the script open: ETXTBSY
	err := os.WriteFile(bin+"/passt", []byte("#!/bin/sh\necho External interface not usable >&2\nexit 1\n"), 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	b.Step = func(name string) { // by then it has ended, for certain
		if name == "running" {
			for len(b.passts()) > 0 {
				runtime.Gosched()
			}
		}
	}
	_, err = b.Launch(t.Context(), spec, Detached())
	var boot *BootError
	if !errors.As(err, &boot) || !strings.Contains(boot.Cause, "passt-net1 failed, exit status 1") || !slices.Contains(boot.Tail, "External interface not usable") {
		t.Errorf("got %v, want a BootError with what passt said", err)
	}
	b.wantNoNetwork("a passt that fails")
}

// TestNetworkAfterReboot keeps addresses though the namespace is another one.
func TestNetworkAfterReboot(t *testing.T) {
	b := newBench(t, true)
	spec := b.netSpec()
	m := b.launch(spec, Detached())
	b.reboot()
	b.awaitNoPasst()
	if _, err := b.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.CreateNetns(t.Context(), spec.Netns, vsock.Global); err != nil {
		t.Fatal(err)
	}
	again, err := b.Start(t.Context(), "web", Detached())
	if err != nil || again.NICs[0] != m.NICs[0] {
		t.Errorf("got %+v, %v, want %+v", again.NICs, err, m.NICs)
	}
	if err := b.Down(t.Context(), "web", 0); err != nil {
		t.Fatal(err)
	}
	b.wantNoNetwork("down")
}
