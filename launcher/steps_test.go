package launcher

import (
	"errors"
	"io/fs"
	"slices"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/fakeqemu"
	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// bringTo makes what verb is done to: a machine that runs or is down, or a
// namespace.
func (b *bench) bringTo(verb string, f fakeqemu.Behaviour) {
	b.t.Helper()
	spec := b.fakeSpec(f)
	ctx := b.t.Context()
	var err error
	switch verb {
	case "up", "netns create":
	case "netns rm":
		err = b.CreateNetns(ctx, spec.Netns, vsock.Global)
	case "start", "rm":
		b.launch(spec, Detached())
		err = b.Stop(ctx, spec.Name, 0)
	default:
		b.launch(spec, Detached())
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// TestVerbStepsAreTaken holds VerbSteps to what the verbs do.
func TestVerbStepsAreTaken(t *testing.T) {
	for verb, want := range VerbSteps() {
		t.Run(verb, func(t *testing.T) {
			b := newBench(t, true)
			b.bringTo(verb, fakeqemu.Behaviour{})
			var got []string
			b.Step = func(name string) { got = append(got, name) }
			if err := verbs(b.Launcher)[verb](t.Context(), b.fakeSpec(fakeqemu.Behaviour{})); err != nil {
				t.Fatal(err)
			}
			b.Step = nil
			if !slices.Equal(got, want) {
				t.Errorf("got %q\nwant %q", got, want)
			}
			if err := b.RemoveNetns(t.Context(), b.netnsName("")); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
		})
	}
}

// TestKillAtEveryStepOfEveryVerb kills each verb at each of its steps, as kill -9
// would. The next command puts everything right, and finds no more to do after
// that. (Of a launch and a start more is asked in tests of their own.)
func TestKillAtEveryStepOfEveryVerb(t *testing.T) {
	for verb, steps := range VerbSteps() {
		if verb == "up" || verb == "start" || verb == "restart" {
			continue
		}
		for _, step := range steps {
			t.Run(verb+" "+step, func(t *testing.T) {
				t.Parallel()
				b := newBench(t, true)
				b.bringTo(verb, fakeqemu.Behaviour{})
				b.killAt(step, verb, b.fakeSpec(fakeqemu.Behaviour{}))
				if _, err := b.Reconcile(t.Context()); err != nil {
					t.Fatal(err)
				}
				if s, alive := b.state("web"), len(b.processes()) > 0; alive != (s == Running) {
					t.Errorf("the machine is %q, and a QEMU runs: %v", s, alive)
				}
				b.wantPinKnown()
				if again, err := b.Reconcile(t.Context()); err != nil || len(again) > 0 {
					t.Errorf("a second look finds more: %v, %v", again, err)
				}
				if err := b.RemoveNetns(t.Context(), b.netnsName("")); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
					t.Error(err)
				}
			})
		}
	}
}

// wantPinKnown asks that the test's namespace has a name exactly if a record
// says so, that of a machine or its own.
func (b *bench) wantPinKnown() {
	b.t.Helper()
	ns, err := netns.Open(b.netnsName(""))
	if err == nil {
		defer ns.Close()
	}
	var users []string
	var rec store.Netns
	if verr := b.Store.View(b.t.Context(), func(tx *store.Tx) (err error) {
		rec, _ = tx.Netns(b.netnsName(""))
		machines, err := tx.Machines()
		for _, m := range machines {
			users = append(users, m.Name)
		}
		return err
	}); verr != nil {
		b.t.Fatal(verr)
	}
	known := rec.Name != "" && !rec.Pending || len(users) > 0
	if (err == nil) != known || err == nil && rec.Name != "" && rec.ID != ns.ID() {
		b.t.Errorf("namespace: %v; record %+v, machines %q", err, rec, users)
	}
}

// TestUnrecordedQEMUIsLeftAlone deletes the whole state under a running machine.
// Nothing is done to it, whatever is asked of its name.
func TestUnrecordedQEMUIsLeftAlone(t *testing.T) {
	b := newBench(t, true)
	spec := b.fakeSpec(fakeqemu.Behaviour{})
	m := b.launch(spec, Detached())
	state := b.setAside()
	unrecorded := func(err error) bool {
		e, ok := errors.AsType[*UnrecordedError](err)
		return ok && e.Name == "web" && e.QEMU == m.QEMU && errors.Is(err, fs.ErrExist)
	}
	for range 2 {
		if repairs, err := b.Reconcile(t.Context()); !unrecorded(err) || len(repairs) > 0 {
			t.Errorf("reconcile: %v, %v, want it said and left", repairs, err)
		}
	}
	if _, err := b.Launch(t.Context(), spec, Detached()); !unrecorded(err) {
		t.Errorf("launch: %v, want an UnrecordedError", err)
	}
	// A record of another time: the machine was down then.
	down := m
	down.Phase, down.UUID, down.QEMU = store.Stopped, "of another time", proc.ID{}
	if err := b.Store.Update(t.Context(), func(tx *store.Tx) error { return tx.PutMachine(down) }); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Start(t.Context(), "web", Detached()); !unrecorded(err) {
		t.Errorf("start: %v, want an UnrecordedError", err)
	}
	if err := b.Down(t.Context(), "web", 0); !unrecorded(err) {
		t.Errorf("down: %v, want an UnrecordedError", err)
	}
	if _, err := b.Reconcile(t.Context()); !unrecorded(err) {
		t.Errorf("reconcile: %v, want an UnrecordedError", err)
	}
	if !m.QEMU.Alive() || b.runState(t.Context(), "web") == "" {
		t.Errorf("QEMU lives: %v, want it to live and to be reached", m.QEMU.Alive())
	}
	b.putBack(state)
}
