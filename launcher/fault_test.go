package launcher

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/internal/fakeqemu"
	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// rewrite changes every machine's record.
func (b *bench) rewrite(change func(*store.Machine)) {
	b.t.Helper()
	err := b.Store.Update(b.t.Context(), func(tx *store.Tx) error {
		machines, err := tx.Machines()
		for _, m := range machines {
			change(&m)
			err = errors.Join(err, tx.PutMachine(m))
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// reboot makes all that is recorded be of an earlier boot, and empties the run
// directory: what a restart of the host leaves.
func (b *bench) reboot() {
	b.t.Helper()
	earlier := netns.ID{Boot: "earlier", Cookie: 7}
	var lost []string
	b.rewrite(func(m *store.Machine) {
		m.Boot, m.QEMU.Boot, m.Launcher.Boot = earlier.Boot, earlier.Boot, earlier.Boot
		if m.Netns.Ref != "" {
			lost = append(lost, m.Netns.Ref)
		}
		m.Netns.ID.Boot = earlier.Boot
	})
	err := b.Store.Update(b.t.Context(), func(tx *store.Tx) error {
		netnses, err := tx.Netnses()
		for _, n := range netnses {
			lost = append(lost, n.Name)
			n.ID.Boot = earlier.Boot
			err = errors.Join(err, tx.PutNetns(n))
		}
		local := store.SpaceOf(earlier, vsock.Local)
		return errors.Join(err, tx.SetBoot(earlier.Boot), tx.PutLease(store.Lease{CID: 42, Space: local, Machine: "web", Taken: time.Now()}))
	})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, id := range b.processes() {
		if err := kill(b.t.Context(), id); err != nil {
			b.t.Fatal(err)
		}
	}
	for _, name := range lost {
		if err := netns.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			b.t.Fatal(err)
		}
	}
	if err := os.RemoveAll(b.Dirs.Run); err != nil {
		b.t.Fatal(err)
	}
}

// TestRebootInEveryPhase restarts the host under a machine in each phase.
func TestRebootInEveryPhase(t *testing.T) {
	for phase, want := range map[store.Phase]State{
		store.Created: Created, store.Running: Stopped, store.Stopping: Stopped, store.Stopped: Stopped, store.Failed: Failed,
		store.Starting: Stopped, // one that had run before
		store.Removing: "",
	} {
		t.Run(string(phase), func(t *testing.T) {
			b := newBench(t, true)
			b.launch(b.fakeSpec(fakeqemu.Behaviour{}), Detached())
			b.rewrite(func(m *store.Machine) { m.Phase = phase })
			b.reboot()
			if _, err := b.Reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			if s := b.state("web"); s != want {
				t.Errorf("the machine is %q, want %q", s, want)
			}
			said := b.salvage()
			for _, l := range said.Leases {
				if id := l.Space.ID(); id.Boot == "earlier" {
					t.Errorf("a lease of the earlier boot is left: %+v", l)
				}
			}
			if again, err := b.Reconcile(t.Context()); err != nil || len(again) > 0 {
				t.Errorf("a second look finds more: %v, %v", again, err)
			}
			if want == "" {
				return
			}
			// In a namespace that is made anew, with the CID it had.
			if m, err := b.Start(t.Context(), "web", Detached()); err != nil || m.CID != 42 {
				t.Errorf("start: %+v, %v", m, err)
			}
		})
	}
}

// TestRebootOfAFirstLaunch restarts the host in the midst of a machine's first
// launch, of which nothing stays.
func TestRebootOfAFirstLaunch(t *testing.T) {
	b := newBench(t, true)
	b.killAt("qemu", "up", b.fakeSpec(fakeqemu.Behaviour{}))
	b.reboot()
	if _, err := b.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.wantNothing()
}

// TestRebootForgetsNamespaces restarts the host under a namespace, and under one
// that is being made. Who has the name afterwards keeps it.
func TestRebootForgetsNamespaces(t *testing.T) {
	b := newBench(t, true)
	spec := b.fakeSpec(fakeqemu.Behaviour{})
	if err := b.CreateNetns(t.Context(), b.netnsName("old"), vsock.Global); err != nil {
		t.Fatal(err)
	}
	b.killAt("netns-create:pin", "netns create", spec)
	b.reboot()
	theirs, err := netns.Create(spec.Netns, vsock.Global)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	defer netns.Remove(spec.Netns)
	if _, err := b.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if said := b.salvage(); len(said.Netnses) > 0 {
		t.Errorf("recorded are %+v, want none", said.Netnses)
	}
	if now, err := netns.Open(spec.Netns); err != nil || now.ID() != theirs.ID() {
		t.Errorf("another one's namespace is gone: %v", err)
	} else {
		now.Close()
	}
	if err := netns.Remove(spec.Netns); err != nil {
		t.Error(err)
	}
	b.wantNothing()
}

// TestAPIDThatIsAnothersIsNeverSignalled gives the pid of a machine's QEMU to
// another process, here this test itself, in each phase and for each verb.
func TestAPIDThatIsAnothersIsNeverSignalled(t *testing.T) {
	self, err := proc.Self()
	if err != nil {
		t.Fatal(err)
	}
	other := self
	other.Start-- // the time at which the QEMU started that had this pid
	for _, phase := range []store.Phase{store.Starting, store.Running, store.Stopping, store.Stopped, store.Failed, store.Removing} {
		for _, verb := range []string{"stop", "kill", "rm", "down"} {
			b := newBench(t, true)
			m := b.launch(b.fakeSpec(fakeqemu.Behaviour{}), Detached())
			if err := kill(t.Context(), m.QEMU); err != nil {
				t.Fatal(err)
			}
			b.rewrite(func(m *store.Machine) { m.Phase, m.QEMU, m.Launcher = phase, other, other })
			if s := b.state("web"); !s.down() {
				t.Errorf("%s: the machine is %s, want it down", phase, s)
			}
			if err := verbs(b.Launcher)[verb](t.Context(), b.fakeSpec(fakeqemu.Behaviour{})); err != nil {
				t.Errorf("%s of a machine that was %s: %v", verb, phase, err)
			}
			if _, err := b.Reconcile(t.Context()); err != nil {
				t.Errorf("%s: %v", phase, err)
			}
		}
	}
	if !self.Alive() { // it would have been killed long before
		t.Error("this test is gone")
	}
}

// TestNetnsRmWaitsForALaunchIntoIt removes a namespace from within each step of a
// launch into it.
func TestNetnsRmWaitsForALaunchIntoIt(t *testing.T) {
	b := newBench(t, true)
	spec := b.fakeSpec(fakeqemu.Behaviour{})
	if err := b.CreateNetns(t.Context(), spec.Netns, vsock.Global); err != nil {
		t.Fatal(err)
	}
	other := newLauncher(b.root, true)
	b.Step = func(step string) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		err := other.RemoveNetns(ctx, spec.Netns)
		// The launch has the lock until a record says that it uses the namespace.
		if _, used := errors.AsType[*InUseError](err); !used && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got %v, want it locked or in use", step, err)
		}
	}
	m := b.launch(spec, Detached())
	b.Step = nil
	if ns, err := netns.Open(spec.Netns); err != nil || ns.ID() != m.Netns.ID {
		t.Errorf("the namespace is gone under its machine: %v", err)
	} else {
		ns.Close()
	}
	if err := b.Down(t.Context(), "web", 0); err != nil {
		t.Error(err)
	}
	if err := b.RemoveNetns(t.Context(), spec.Netns); err != nil {
		t.Error(err)
	}
	b.wantNothing()
}
