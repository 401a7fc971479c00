package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/internal/fakeqemu"
	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
	"golang.org/x/sys/unix"
)

// The tests in this file run everywhere: QEMU is a double, and so is the device
// that claims CIDs. Namespaces, processes, sockets, files and the ledger are
// real.

// fakeSpec describes a machine with a double of QEMU, in a namespace that its
// launch makes.
func (b *bench) fakeSpec(f fakeqemu.Behaviour) configs.Machine {
	return configs.Machine{
		Name: "web", Image: configs.ImageProbe, Netns: b.netnsName(""), Vsock: configs.VsockGlobal, CID: 42,
		Accel: configs.AccelTCG, QEMU: fakeqemu.Install(b.t, f),
		RunAs: rootUser, // the double is in a folder of root's
	}
}

func TestLaunchAndDown(t *testing.T) {
	b := newBench(t, true)
	m := b.launch(b.fakeSpec(fakeqemu.Behaviour{}), Detached())
	if b.state("web") != Running || m.CID != 42 || !m.QEMU.Alive() || m.NotifyPort == 0 {
		t.Errorf("launched: %s, %+v", b.state("web"), m)
	}
	if ns, _, err := b.Namespace(t.Context(), "web"); err != nil || ns.ID() != m.Netns.ID {
		t.Errorf("namespace: %v, want %v", err, m.Netns.ID)
	} else {
		ns.Close()
	}
	if err := b.Stop(t.Context(), "web", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if b.state("web") != Stopped || m.QEMU.Alive() {
		t.Errorf("stopped: %s, QEMU alive: %v", b.state("web"), m.QEMU.Alive())
	}
	again, err := b.Start(t.Context(), "web", Detached())
	if err != nil || again.CID != 42 || again.QEMU == m.QEMU {
		t.Fatalf("start: %+v, %v, want the same CID in another QEMU", again, err)
	}
	if err := b.Down(t.Context(), "web", 0); err != nil {
		t.Fatal(err)
	}
	b.wantNothing()
}

// TestLaunchFailsCleanAtEveryStep breaks the launch off before each step in turn.
func TestLaunchFailsCleanAtEveryStep(t *testing.T) {
	for _, step := range Steps() {
		if step == "keep" {
			continue // nothing can fail any more
		}
		t.Run(step, func(t *testing.T) {
			b := newBench(t, true)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			b.Step = func(name string) {
				if name == step {
					cancel()
				}
			}
			_, err := b.Launch(ctx, b.fakeSpec(fakeqemu.Behaviour{}))
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want the cause", err)
			}
			b.wantNothing()
		})
	}
}

// TestStartFailsBackToStopped breaks a start off before each step: the machine is
// as it was, its CID its own.
func TestStartFailsBackToStopped(t *testing.T) {
	b := newBench(t, true)
	b.launch(b.fakeSpec(fakeqemu.Behaviour{}), Detached())
	if err := b.Kill(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	before, err := b.record(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range Steps()[:len(Steps())-1] {
		ctx, cancel := context.WithCancel(t.Context())
		b.Step = func(name string) {
			if name == step {
				cancel()
			}
		}
		if _, err := b.Start(ctx, "web"); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want the cause", step, err)
		}
		after, err := b.record(t.Context(), "web")
		if err != nil || !after.Stopped.Equal(before.Stopped) || after.CID != 42 || after.Phase != before.Phase || after.UUID != before.UUID {
			t.Errorf("%s: record is %+v (%v), want %+v", step, after, err, before)
		}
		if ids := b.processes(); len(ids) > 0 {
			t.Errorf("%s: processes are left: %v", step, ids)
		}
		b.wantEmpty(b.Dirs.Run)
	}
	b.Step = nil
	if m, err := b.Start(t.Context(), "web", Detached()); err != nil || m.CID != 42 {
		t.Errorf("start after that: %+v, %v", m, err)
	}
}

// TestQEMUThatFailsTheLaunch lets QEMU misbehave in each way.
func TestQEMUThatFailsTheLaunch(t *testing.T) {
	for _, c := range []struct {
		name string
		fake fakeqemu.Behaviour
		boot bool // a BootError
		want string
	}{
		{"dies at start", fakeqemu.Behaviour{DieAtStart: "no such machine", Exit: 1}, true, "no such machine"},
		{"is killed at cont", fakeqemu.Behaviour{DieOn: "cont"}, true, "QEMU ended"},
		{"refuses cont", fakeqemu.Behaviour{RefuseOn: "cont"}, false, "let machine \"web\" run"},
		{"talks garbage", fakeqemu.Behaviour{GarbageOn: "query-status", Garbage: "<html>"}, false, "talk to QEMU"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, true)
			_, err := b.Launch(t.Context(), b.fakeSpec(c.fake))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want it to tell of %q", err, c.want)
			}
			if _, boot := errors.AsType[*BootError](err); boot != c.boot {
				t.Errorf("got %T, want a BootError: %v", err, c.boot)
			}
			b.wantNothing()
		})
	}
}

// TestKillAtEveryStep kills the launcher at each step, as kill -9 would. The
// next command puts everything right.
func TestKillAtEveryStep(t *testing.T) {
	for _, step := range Steps() {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, true)
			b.killAt(step, "up", b.fakeSpec(fakeqemu.Behaviour{}))
			repairs, err := b.Reconcile(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if step == "keep" { // it had all been done
				if b.state("web") != Running || len(repairs) != 0 {
					t.Errorf("got %s and repairs %v, want it running", b.state("web"), repairs)
				}
				return
			}
			for _, r := range repairs {
				if r.Machine != "web" || r.Why == "" {
					t.Errorf("repair without machine or reason: %+v", r)
				}
			}
			b.wantNothing()
			if again, err := b.Reconcile(t.Context()); err != nil || len(again) > 0 {
				t.Errorf("a second look finds more: %v, %v", again, err)
			}
		})
	}
}

// TestKillAtEveryStepOfAStart does the same to a machine that was there before.
func TestKillAtEveryStepOfAStart(t *testing.T) {
	b := newBench(t, true)
	spec := b.fakeSpec(fakeqemu.Behaviour{})
	b.launch(spec, Detached())
	if err := b.Stop(t.Context(), "web", 0); err != nil {
		t.Fatal(err)
	}
	for _, step := range Steps() {
		b.killAt(step, "start", spec)
		if _, err := b.Reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
		m, err := b.record(t.Context(), "web")
		if err != nil {
			t.Fatal(err)
		}
		want, processes := Stopped, 0
		if step == "keep" {
			want, processes = Running, 1
		}
		if s := b.state("web"); s != want || m.CID != 42 || len(b.processes()) != processes {
			t.Errorf("killed at %s: %s with CID %d and processes %v, want %s", step, s, m.CID, b.processes(), want)
		}
	}
}

func TestKilledQEMUIsSeenAndRepaired(t *testing.T) {
	b := newBench(t, true)
	m := b.launch(b.fakeSpec(fakeqemu.Behaviour{}), Detached())
	if err := kill(t.Context(), m.QEMU); err != nil {
		t.Fatal(err)
	}
	if s := b.state("web"); s != Failed {
		t.Errorf("got %s, want failed", s)
	}
	repairs, err := b.Reconcile(t.Context())
	if err != nil || len(repairs) != 1 || repairs[0].Why != "QEMU ended without a word: it was killed, or it crashed" {
		t.Errorf("got %v, %v, want one repair with the reason", repairs, err)
	}
	if v, err := b.Inspect(t.Context(), "web"); err != nil || v.State != Failed || v.Cause == "" {
		t.Errorf("got %+v, %v, want it failed with its cause", v, err)
	}
	b.wantEmpty(b.Dirs.Run)
	if _, err := b.Start(t.Context(), "web", Detached()); err != nil {
		t.Error(err)
	}
}

func TestStopOfAGuestThatDoesNotObey(t *testing.T) {
	for name, f := range map[string]fakeqemu.Behaviour{
		"ignores the button": {IgnorePowerdown: true},
		"refuses to quit":    {IgnorePowerdown: true, RefuseOn: "quit"},
		"drops the line":     {LeaveOn: "system_powerdown", IgnorePowerdown: true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, true)
			m := b.launch(b.fakeSpec(f), Detached())
			if err := b.Stop(t.Context(), "web", 50*time.Millisecond); err != nil {
				t.Fatal(err)
			}
			if m.QEMU.Alive() || b.state("web") != Stopped {
				t.Errorf("QEMU alive: %v, state %s", m.QEMU.Alive(), b.state("web"))
			}
			if err := b.Stop(t.Context(), "web", 0); err != nil {
				t.Errorf("second stop: %v", err)
			}
		})
	}
}

// TestInterruptedStopLeavesItRunning ends the context while the guest takes its
// time.
func TestInterruptedStopLeavesItRunning(t *testing.T) {
	b := newBench(t, true)
	m := b.launch(b.fakeSpec(fakeqemu.Behaviour{IgnorePowerdown: true}), Detached())
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := b.Stop(ctx, "web", time.Minute); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the end of the context", err)
	}
	if !m.QEMU.Alive() || b.state("web") != Running {
		t.Errorf("QEMU alive: %v, state %s, want it running", m.QEMU.Alive(), b.state("web"))
	}
}

// freeze stops a process, and returns when all its threads stand: the signal
// takes its time on a busy host.
func freeze(t *testing.T, id proc.ID) {
	t.Helper()
	if err := id.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for tick := time.Tick(time.Millisecond); ; <-tick {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", id.PID))
		if err != nil || len(stats) == 0 {
			t.Fatalf("threads of %v: %v, %v", id, stats, err)
		}
		if !slices.ContainsFunc(stats, func(path string) bool {
			text, err := os.ReadFile(path)
			return err == nil && !strings.Contains(string(text), ") T ")
		}) {
			return
		}
	}
}

func TestUnresponsiveQEMU(t *testing.T) {
	b := newBench(t, true)
	m := b.launch(b.fakeSpec(fakeqemu.Behaviour{}), Detached())
	freeze(t, m.QEMU)
	if s := b.state("web"); s != Unresponsive {
		t.Errorf("got %s, want unresponsive", s)
	}
	if err := b.Kill(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	if s := b.state("web"); s != Stopped {
		t.Errorf("after kill: %s, want stopped", s)
	}
}

func TestPauseAndResume(t *testing.T) {
	b := newBench(t, true)
	b.launch(b.fakeSpec(fakeqemu.Behaviour{}), Detached())
	for _, c := range []struct {
		verb func(context.Context, string) error
		want State
	}{{b.Pause, Paused}, {b.Pause, Paused}, {b.Resume, Running}} {
		if err := c.verb(t.Context(), "web"); err != nil || b.state("web") != c.want {
			t.Errorf("got %s, %v, want %s", b.state("web"), err, c.want)
		}
	}
}

func TestGuestThatDiesWhileBooting(t *testing.T) {
	testenv.Require(t, testenv.Root)
	b := newBench(t, true)
	_, err := b.Launch(t.Context(), b.fakeSpec(fakeqemu.Behaviour{Console: "Kernel panic - not syncing", PanicAtBoot: true}))
	boot, ok := errors.AsType[*BootError](err)
	if !ok || boot.Phase != "boot" || !slices.Contains(boot.Tail, "Kernel panic - not syncing") {
		t.Fatalf("got %v, want a BootError with the console's end", err)
	}
	if s := b.state("web"); !s.down() {
		t.Errorf("the machine is %s, want it down and kept", s)
	}
}

func TestGuestThatIsNotReadyInTime(t *testing.T) {
	b := newBench(t, true)
	spec := b.fakeSpec(fakeqemu.Behaviour{Console: "waiting for godot"})
	spec.ReadyTimeout = configs.Duration(700 * time.Millisecond)
	_, err := b.Launch(t.Context(), spec)
	late, ok := errors.AsType[*ReadyError](err)
	if !ok || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(late.Missing, "waiting for godot") {
		t.Fatalf("got %v, want a ReadyError with the console's last line", err)
	}
	if s := b.state("web"); s != Running {
		t.Errorf("the machine is %s, want it to run on", s)
	}
}

func TestVerbsOnTheWrongMachine(t *testing.T) {
	b := newBench(t, true)
	spec := b.fakeSpec(fakeqemu.Behaviour{})
	b.launch(spec, Detached())
	ctx := t.Context()
	phase := func(err error) bool { _, ok := errors.AsType[*PhaseError](err); return ok }
	if _, err := b.Launch(ctx, spec); !errors.Is(err, fs.ErrExist) {
		t.Errorf("launch again: %v, want fs.ErrExist", err)
	}
	if _, err := b.Start(ctx, "web"); !phase(err) {
		t.Errorf("start of a running one: %v, want a PhaseError", err)
	}
	if err := b.Remove(ctx, "web", false); !phase(err) {
		t.Errorf("remove of a running one: %v, want a PhaseError", err)
	}
	for verb, err := range map[string]error{
		"stop": b.Stop(ctx, "nobody", 0), "kill": b.Kill(ctx, "nobody"), "remove": b.Remove(ctx, "nobody", true),
		"down": b.Down(ctx, "nobody", 0), "wait": b.Wait(ctx, "nobody", ForReady), "pause": b.Pause(ctx, "nobody"),
	} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s of nobody: %v, want fs.ErrNotExist", verb, err)
		}
	}
	if err := b.Stop(ctx, "../web", 0); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stop of a path: %v, want it refused as a name", err)
	}
	if err := b.Stop(ctx, "web", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := b.QMP(ctx, "web"); !phase(err) {
		t.Errorf("QMP of a stopped one: %v, want a PhaseError", err)
	}
	if err := b.Wait(ctx, "web", ForStopped); err != nil {
		t.Errorf("wait for stopped: %v", err)
	}
	if err := b.Wait(ctx, "web", ForReady); !phase(err) {
		t.Errorf("wait for ready of a stopped one: %v, want a PhaseError", err)
	}
}

// TestNamespaceGoesWithItsLastMachine lets two machines live in a namespace
// that the first one made.
func TestNamespaceGoesWithItsLastMachine(t *testing.T) {
	b := newBench(t, true)
	first := b.fakeSpec(fakeqemu.Behaviour{})
	second := first
	second.Name, second.CID, second.Vsock = "db", 43, ""
	b.launch(first, Detached())
	b.launch(second, Detached())
	if err := b.Down(t.Context(), "web", 0); err != nil {
		t.Fatal(err)
	}
	if ns, err := netns.Open(first.Netns); err != nil {
		t.Errorf("the name of the second one's namespace is gone: %v", err)
	} else {
		ns.Close()
	}
	if err := b.Down(t.Context(), "db", 0); err != nil {
		t.Fatal(err)
	}
	b.wantNothing()
}

// TestNamespaceOfSomebodyElseStays puts another namespace under the name of the
// one that a launch made.
func TestNamespaceOfSomebodyElseStays(t *testing.T) {
	b := newBench(t, true)
	spec := b.fakeSpec(fakeqemu.Behaviour{})
	b.launch(spec, Detached())
	if err := netns.Remove(spec.Netns); err != nil {
		t.Fatal(err)
	}
	theirs, err := netns.Create(spec.Netns, vsock.Global)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	defer netns.Remove(spec.Netns)
	if ns, m, err := b.Namespace(t.Context(), "web"); err != nil || ns.ID() != m.Netns.ID {
		t.Errorf("the machine's own namespace is not found through its QEMU: %v", err)
	} else {
		ns.Close()
	}
	if err := b.Down(t.Context(), "web", 0); err != nil {
		t.Fatal(err)
	}
	now, err := netns.Open(spec.Netns)
	if err != nil || now.ID() != theirs.ID() {
		t.Fatalf("their namespace is gone: %v", err)
	}
	now.Close()
	if err := netns.Remove(spec.Netns); err != nil {
		t.Error(err)
	}
	b.wantNothing()
}

// TestLeasesOfNobodyAreFreed writes what no launch leaves.
func TestLeasesOfNobodyAreFreed(t *testing.T) {
	b := newBench(t, true)
	spec := b.fakeSpec(fakeqemu.Behaviour{})
	m := b.launch(spec, Detached())
	earlier := store.SpaceOf(netns.ID{Boot: "earlier", Cookie: 7}, vsock.Local)
	err := b.Store.Update(t.Context(), func(tx *store.Tx) error {
		return errors.Join(
			tx.PutLease(store.Lease{CID: 50, Space: m.Space, Machine: "nobody", Taken: time.Now()}),
			tx.PutLease(store.Lease{CID: 52, Space: earlier, Machine: "web", Taken: time.Now()}),
			tx.PutNetns(store.Netns{Name: "cell", ID: earlier.ID(), Mode: vsock.Local}),
			tx.SetBoot("earlier"),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	if repairs, err := b.Reconcile(t.Context()); err != nil || len(repairs) != 3 {
		t.Errorf("got %v, %v, want three repairs", repairs, err)
	}
	err = b.Store.View(t.Context(), func(tx *store.Tx) error {
		spaces, err := tx.Spaces()
		if slices.Contains(spaces, earlier) {
			t.Errorf("spaces are %q, want the earlier boot's gone", spaces)
		}
		leases, lerr := tx.Leases(m.Space)
		for _, l := range leases {
			if l.Machine != "" && l.CID != m.CID {
				t.Errorf("lease of nobody: %+v", l)
			}
		}
		if l, lerr := tx.Lease(m.Space, m.CID); lerr != nil || l.Machine != "web" {
			t.Errorf("the machine's own lease: %+v, %v", l, lerr)
		}
		return errors.Join(err, lerr)
	})
	if err != nil {
		t.Error(err)
	}
	if again, err := b.Reconcile(t.Context()); err != nil || len(again) > 0 {
		t.Errorf("a second look finds more: %v, %v", again, err)
	}
}

func TestRunReturnsQEMUsExit(t *testing.T) {
	b := newBench(t, true)
	exit, err := b.Run(t.Context(), b.fakeSpec(fakeqemu.Behaviour{Exit: 7}), func(ctx context.Context, m store.Machine) error {
		c, err := b.QMP(ctx, m.Name)
		if err != nil {
			return err
		}
		defer c.Close()
		return c.Quit(ctx)
	})
	if exit != 7 || err != nil {
		t.Errorf("got %d, %v, want QEMU's exit status 7", exit, err)
	}
	b.wantNothing()
}

// TestRunKeeps runs a machine three times: it is kept, started again, and taken over
// from a run that was killed.
func TestRunKeeps(t *testing.T) {
	b := newBench(t, true)
	spec := b.fakeSpec(fakeqemu.Behaviour{Exit: 7})
	uuids := map[string]bool{}
	quit := func(ctx context.Context, m store.Machine) error {
		uuids[m.UUID] = true
		c, err := b.QMP(ctx, m.Name)
		if err != nil {
			return err
		}
		defer c.Close()
		return c.Quit(ctx)
	}
	run := func(when string) {
		t.Helper()
		if exit, err := b.Run(t.Context(), spec, quit, Keeping(true)); exit != 7 || err != nil {
			t.Errorf("%s: got %d, %v, want QEMU's exit status 7", when, exit, err)
		}
		if s := b.state("web"); !s.down() {
			t.Errorf("%s: %s, want it kept, and down", when, s)
		}
	}
	run("the first time")
	run("again")
	b.killAt("keep", "start", spec)
	if s := b.state("web"); s != Running {
		t.Fatalf("%s, want it running without its vmlaunch", s)
	}
	run("after one that was killed")
	if len(uuids) != 3 {
		t.Errorf("%d runs, want 3 of them", len(uuids))
	}
	other := spec
	other.CPUs = 2
	if _, err := b.Run(t.Context(), other, quit, Keeping(true)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want that it is another machine", err)
	}
	if err := b.Down(t.Context(), "web", 0); err != nil {
		t.Fatal(err)
	}
	b.wantNothing()
}

// TestManyAtOnceInOneNamespace launches machines that all would make the same
// namespace, and takes them down, all at once.
func TestManyAtOnceInOneNamespace(t *testing.T) {
	b := newBench(t, true)
	spec := b.fakeSpec(fakeqemu.Behaviour{})
	names := []string{"a", "b", "c", "d", "e", "f"}
	atOnce := func(do func(i int, name string) error) {
		var all sync.WaitGroup
		for i, name := range names {
			all.Go(func() {
				if err := do(i, name); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		all.Wait()
	}
	for range 3 {
		atOnce(func(i int, name string) error {
			mine := spec
			mine.Name, mine.CID = name, uint32(100+i)
			_, err := b.Launch(t.Context(), mine, Detached())
			return err
		})
		atOnce(func(_ int, name string) error { return b.Down(t.Context(), name, 0) })
		b.wantNothing()
	}
}

// TestOneNameAtOnce lets several launches race for a name: one wins, and what
// it made stays.
func TestOneNameAtOnce(t *testing.T) {
	b := newBench(t, true)
	spec := b.fakeSpec(fakeqemu.Behaviour{})
	var all sync.WaitGroup
	var won, lost atomic.Int32
	for range 4 {
		all.Go(func() {
			switch _, err := b.Launch(t.Context(), spec, Detached()); {
			case err == nil:
				won.Add(1)
			case errors.Is(err, fs.ErrExist):
				lost.Add(1)
			default:
				t.Errorf("got %v, want success or fs.ErrExist", err)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 || lost.Load() != 3 || b.state("web") != Running {
		t.Errorf("%d won, %d lost, the machine is %s", won.Load(), lost.Load(), b.state("web"))
	}
	if ns, _, err := b.Namespace(t.Context(), "web"); err != nil {
		t.Errorf("the losers took the namespace away: %v", err)
	} else {
		ns.Close()
	}
}

// TestNothingStaysOpen counts descriptors and goroutines over whole lives of a
// machine, those that fail included.
func TestNothingStaysOpen(t *testing.T) {
	b := newBench(t, true)
	good, bad := b.fakeSpec(fakeqemu.Behaviour{}), b.fakeSpec(fakeqemu.Behaviour{RefuseOn: "cont"})
	life := func() {
		b.launch(good, Detached())
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := b.Machines(ctx); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
		if _, err := b.Dial(ctx, "web", 1); err == nil {
			t.Error("a double of a guest was reached")
		}
		if err := b.Down(t.Context(), "web", time.Second); err != nil {
			t.Error(err)
		}
		if _, err := b.Launch(t.Context(), bad); err == nil {
			t.Error("the bad one was launched")
		}
	}
	life() // the runtime and the poller open what they keep
	files, routines := openFiles(t), runtime.NumGoroutine()
	for range 3 {
		life()
	}
	runtime.GC() // os.Process of a QEMU that lives on is left to it
	if now := openFiles(t); now > files {
		t.Errorf("%d files open, were %d", now, files)
	}
	if now := runtime.NumGoroutine(); now > routines {
		t.Errorf("%d goroutines, were %d", now, routines)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

// TestALaunchUnderWayIsLeftAlone looks at a machine, as another command would,
// from within each step of its launch.
func TestALaunchUnderWayIsLeftAlone(t *testing.T) {
	b := newBench(t, true)
	other := newLauncher(b.root, true)
	looks := 0
	b.Step = func(step string) {
		looks++
		if repairs, err := other.Reconcile(t.Context()); err != nil || len(repairs) > 0 {
			t.Errorf("%s: repaired %v, %v", step, repairs, err)
		}
		m, err := other.record(t.Context(), "web")
		if errors.Is(err, fs.ErrNotExist) {
			return // not recorded yet
		}
		want := Starting
		if step == "keep" {
			want = Running
		}
		if s := b.look(t.Context(), m, other.atWork("web")).State; err != nil || s != want {
			t.Errorf("%s: another command sees %s (%v), want %s", step, s, err, want)
		}
	}
	b.launch(b.fakeSpec(fakeqemu.Behaviour{}), Detached())
	b.Step = nil
	if looks != len(Steps()) {
		t.Errorf("%d looks, want one for each of %d steps", looks, len(Steps()))
	}
}
