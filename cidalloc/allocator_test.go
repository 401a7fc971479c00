package cidalloc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// untimed compares leases without when, and which of all it is.
var untimed = cmpopts.IgnoreFields(store.Lease{}, "Taken", "Freed", "Seen", "Generation")

func TestAcquireRecordsAndClaimsAtOnce(t *testing.T) {
	w := newWorld(t)
	var space store.Space
	var cid vsock.CID
	l := w.acquire(Request{Machine: "web", Want: 42, Record: func(tx *store.Tx, s store.Space, c vsock.CID) error {
		space, cid = s, c
		return tx.PutMachine(store.Machine{Name: "web", Phase: store.Starting, CID: c})
	}})
	if l.CID() != 42 || l.Space() != store.Global || cid != 42 || space != store.Global {
		t.Errorf("got %d in %s, recorded as %d in %s", l.CID(), l.Space(), cid, space)
	}
	if d := cmp.Diff([]store.Lease{{CID: 42, Space: store.Global, Machine: "web"}}, w.leases(store.Global), untimed); d != "" {
		t.Errorf("ledger (want - got +):\n%s", d)
	}
	if len(w.host.held) != 1 {
		t.Errorf("kernel holds %v, want cid 42", w.host.held)
	}
	if err := errors.Join(l.Release(t.Context()), l.Release(t.Context()), l.Close()); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff([]store.Lease{{CID: 42, Space: store.Global, Last: "web"}}, w.leases(store.Global), untimed); d != "" {
		t.Errorf("ledger after release (want - got +):\n%s", d)
	}
	if len(w.host.held) != 0 {
		t.Errorf("kernel still holds %v", w.host.held)
	}
}

// TestAcquireFailsCleanAtEveryStep lets each step fail in turn and asks that
// nothing stays claimed or recorded.
func TestAcquireFailsCleanAtEveryStep(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t)
		w.put(store.Machine{Name: "other", Phase: store.Created})
		w.host.failAt = n
		l, err := w.Acquire(t.Context(), Request{Machine: "web", Record: func(tx *store.Tx, s store.Space, c vsock.CID) error {
			return errors.Join(tx.PutMachine(store.Machine{Name: "web", Phase: store.Starting}), w.host.step())
		}})
		if err == nil {
			if n != 5 {
				t.Fatalf("went through with step %d failing, want only past step 4", n)
			}
			if len(w.host.held) != 1 {
				t.Fatalf("kernel holds %v, want one", w.host.held)
			}
			return
		}
		if l != nil || !errors.Is(err, errInjected) {
			t.Errorf("step %d: got %v, %v, want the cause and no lease", n, l, err)
		}
		w.nothingOf("web", fmt.Sprintf("step %d", n))
	}
}

// TestAcquireFailsCleanAtCommit damages the file under the transaction.
func TestAcquireFailsCleanAtCommit(t *testing.T) {
	w := newWorld(t)
	w.put(store.Machine{Name: "other", Phase: store.Created})
	sound, err := os.ReadFile(w.store.Path())
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Acquire(t.Context(), Request{Machine: "web", Record: func(*store.Tx, store.Space, vsock.CID) error {
		return os.Truncate(w.store.Path(), 0)
	}})
	if !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("got %v, want store.ErrCorrupt", err)
	}
	if err := os.WriteFile(w.store.Path(), sound, 0o600); err != nil {
		t.Fatal(err)
	}
	w.nothingOf("web", "commit")
}

// nothingOf asks that neither kernel nor ledger know of machine.
func (w *world) nothingOf(machine, when string) {
	w.t.Helper()
	if len(w.host.held) != 0 {
		w.t.Errorf("%s: kernel holds %v", when, w.host.held)
	}
	if l := w.leases(store.Global); len(l) != 0 {
		w.t.Errorf("%s: ledger has %v", when, l)
	}
	err := w.store.View(w.t.Context(), func(tx *store.Tx) error { _, err := tx.Machine(machine); return err })
	if err == nil {
		w.t.Errorf("%s: the machine's record was written", when)
	}
}

func TestTakenNamesTheMachine(t *testing.T) {
	tests := map[string]struct {
		m    store.Machine
		want string
	}{
		"running here": {store.Machine{Netns: store.NetnsRef{Ref: "blue"}, Phase: store.Running, QEMU: proc.ID{PID: 4711}},
			`acquire cid for machine "web": cid 7 in netns "blue": held by machine "db" (pid 4711)`},
		"running elsewhere": {store.Machine{Netns: store.NetnsRef{Ref: "red"}, Phase: store.Running, QEMU: proc.ID{PID: 4711}},
			`acquire cid for machine "web": cid 7 in netns "blue": held by machine "db" in netns "red" (pid 4711)`},
		"not started": {store.Machine{Phase: store.Starting},
			`acquire cid for machine "web": cid 7 in netns "blue": held by machine "db" (starting)`},
		"gone": {store.Machine{},
			`acquire cid for machine "web": cid 7 in netns "blue": held by machine "db" (of which there is no other record)`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.put(leased(7, "db"))
			if tt.m.Name = "db"; tt.m.Phase != "" {
				w.put(tt.m)
			}
			_, err := w.Acquire(t.Context(), Request{Machine: "web", Want: 7})
			var taken *TakenError
			if !errors.Is(err, ErrTaken) || !errors.As(err, &taken) || taken.Foreign || taken.CID != 7 || taken.Ref != "blue" {
				t.Fatalf("got %v, want a TakenError that is not foreign", err)
			}
			if err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
			if w.host.heldOnce != 0 {
				t.Error("the kernel was asked although the ledger knew")
			}
		})
	}
}

func TestForeignHolderIsNamedAndRemembered(t *testing.T) {
	w := newWorld(t)
	w.host.held[claim{store.Global, 42}] = `pid 812 ("qemu -device x")`
	_, err := w.Acquire(t.Context(), Request{Machine: "web", Want: 42})
	var taken *TakenError
	if !errors.As(err, &taken) || !taken.Foreign || !errors.Is(err, ErrTaken) {
		t.Fatalf("got %v, want a foreign TakenError", err)
	}
	if want := `acquire cid for machine "web": cid 42 in netns "blue": held by foreign pid 812 ("qemu -device x")`; err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	want := []store.Lease{{CID: 42, Space: store.Global, Foreign: `pid 812 ("qemu -device x")`}}
	if d := cmp.Diff(want, w.leases(store.Global), untimed); d != "" {
		t.Errorf("ledger (want - got +):\n%s", d)
	}
	if w.host.lookedFor != 1 {
		t.Errorf("looked %d times, want once: who is found is not waited for", w.host.lookedFor)
	}
	// The stranger ends: the number is asked for again, and the mark goes.
	delete(w.host.held, claim{store.Global, 42})
	w.acquire(Request{Machine: "web", Want: 42})
	if d := cmp.Diff([]store.Lease{{CID: 42, Space: store.Global, Machine: "web"}}, w.leases(store.Global), untimed); d != "" {
		t.Errorf("ledger (want - got +):\n%s", d)
	}
}

// TestAskedForCIDIsWaitedFor has the kernel let go late, as it does after the
// holder was killed. Time is the bubble's own.
func TestAskedForCIDIsWaitedFor(t *testing.T) {
	tests := map[string]struct {
		r     Request
		lease store.Lease
	}{
		"wanted":          {Request{Machine: "web", Want: 42}, store.Lease{}},
		"last":            {Request{Machine: "web", Last: 42}, store.Lease{}},
		"last, cooling":   {Request{Machine: "web", Last: 42}, store.Lease{CID: 42, Space: store.Global, Freed: time.Unix(946684800, 0), Last: "web"}},
		"leased to it":    {Request{Machine: "web"}, leased(42, "web")},
		"wanted, its own": {Request{Machine: "web", Want: 42}, leased(42, "web")},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				if tt.lease.CID != 0 {
					w.put(tt.lease)
				}
				w.host.held[claim{store.Global, 42}] = ""
				start := time.Now()
				w.host.until = map[claim]time.Time{{store.Global, 42}: start.Add(230 * time.Millisecond)}
				l := w.acquire(tt.r)
				if took := time.Since(start); l.CID() != 42 || took < 230*time.Millisecond || took > 260*time.Millisecond {
					t.Errorf("got %d after %v, want 42 after 230 to 260 ms", l.CID(), took)
				}
			})
		})
	}
}

func TestWaitIsBounded(t *testing.T) {
	t.Run("wanted", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.host.held[claim{store.Global, 42}] = ""
			start := time.Now()
			_, err := w.Acquire(t.Context(), Request{Machine: "web", Want: 42})
			if want := `acquire cid for machine "web": cid 42 in netns "blue": held by foreign process that was not found`; err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			if took := time.Since(start); took != settleWait {
				t.Errorf("took %v, want %v", took, settleWait)
			}
		})
	})
	t.Run("last", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.host.held[claim{store.Global, 42}] = ""
			if l := w.acquire(Request{Machine: "web", Last: 42}); l.CID() == 42 {
				t.Error("got 42, which is taken")
			}
			if n := len(w.leases(store.Global)); n != 2 {
				t.Errorf("ledger has %d entries, want the lease and the stranger", n)
			}
		})
	})
	t.Run("its own QEMU still runs", func(t *testing.T) {
		w := newWorld(t)
		w.put(leased(42, "web"), store.Machine{Name: "web", Phase: store.Running, QEMU: proc.ID{PID: 4711}, Netns: store.NetnsRef{Ref: "blue"}})
		w.host.held[claim{store.Global, 42}] = "pid 4711"
		_, err := w.Acquire(t.Context(), Request{Machine: "web"})
		if want := `acquire cid for machine "web": cid 42 in netns "blue": held by machine "web" (pid 4711)`; err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		if d := cmp.Diff([]store.Lease{leased(42, "web")}, w.leases(store.Global)); d != "" {
			t.Errorf("the machine's own lease was touched (want - got +):\n%s", d)
		}
	})
	t.Run("a stranger took a stopped machine's", func(t *testing.T) {
		w := newWorld(t)
		w.put(leased(42, "web"), store.Machine{Name: "web", Phase: store.Stopped, Netns: store.NetnsRef{Ref: "blue"}})
		w.host.held[claim{store.Global, 42}] = "pid 812"
		_, err := w.Acquire(t.Context(), Request{Machine: "web"})
		if want := `acquire cid for machine "web": cid 42 in netns "blue": held by foreign pid 812`; err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		if d := cmp.Diff([]store.Lease{leased(42, "web")}, w.leases(store.Global)); d != "" {
			t.Errorf("the machine's own lease was touched (want - got +):\n%s", d)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.host.held[claim{store.Global, 42}] = ""
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, err := w.Acquire(ctx, Request{Machine: "web", Want: 42})
			if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrTaken) {
				t.Errorf("got %v, want the deadline and no judgement", err)
			}
			if l := w.leases(store.Global); len(l) != 0 {
				t.Errorf("ledger has %v, want nothing", l)
			}
		})
	})
}

// TestMachineThatWasFasterIsNoStranger lets another vmlaunch get the CID while
// this one looks for who holds it.
func TestMachineThatWasFasterIsNoStranger(t *testing.T) {
	for name, r := range map[string]Request{"wanted": {Machine: "web", Want: 42}, "last": {Machine: "web", Last: 42}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.host.held[claim{store.Global, 42}] = "pid 4711"
			w.host.meanwhile = func() {
				w.put(leased(42, "db"), store.Machine{Name: "db", Phase: store.Starting, Netns: store.NetnsRef{Ref: "blue"}})
			}
			l, err := w.Acquire(t.Context(), r)
			if r.Want == 0 && (err != nil || l.CID() == 42) {
				t.Errorf("got %v, %v, want another number", l, err)
			}
			if want := `acquire cid for machine "web": cid 42 in netns "blue": held by machine "db" (starting)`; r.Want != 0 && (err == nil || err.Error() != want) {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			for _, l := range w.leases(store.Global) {
				if l.CID == 42 && l.Machine != "db" {
					t.Errorf("the lease of machine db is now %+v", l)
				}
			}
		})
	}
}

func TestOnlyInUseMeansTaken(t *testing.T) {
	w := newWorld(t)
	w.host.refuse = errno
	for _, r := range []Request{{Machine: "web"}, {Machine: "web", Want: 42}} {
		w.host.at = 0
		if _, err := w.Acquire(t.Context(), r); !errors.Is(err, errno) || errors.Is(err, ErrTaken) {
			t.Errorf("got %v, want %v", err, errno)
		}
		if w.host.at != 3 { // look, own, hold
			t.Errorf("the host was called %d times, want 3: no second try", w.host.at)
		}
	}
	w.nothingOf("web", "errno")
}

func TestChoicePassesOverStrangers(t *testing.T) {
	w := newWorld(t)
	home := w.acquire(Request{Machine: "web"}).CID()
	for _, tt := range []struct {
		strangers int
		want      error
	}{{1, nil}, {maxRefusals - 1, nil}, {maxRefusals, ErrExhausted}} {
		t.Run(fmt.Sprint(tt.strangers), func(t *testing.T) {
			w := newWorld(t)
			for i := range tt.strangers {
				w.host.held[claim{store.Global, home + vsock.CID(i)}] = "someone"
			}
			l, err := w.Acquire(t.Context(), Request{Machine: "web"})
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if err == nil && l.CID() != home+vsock.CID(tt.strangers) {
				t.Errorf("got %d, want %d", l.CID(), home+vsock.CID(tt.strangers))
			}
			marks := 0
			for _, l := range w.leases(store.Global) {
				if l.Foreign == "someone" && !l.Seen.IsZero() {
					marks++
				}
			}
			if marks != tt.strangers {
				t.Errorf("%d strangers are remembered, want %d", marks, tt.strangers)
			}
		})
	}
}

func TestOneMachineHasOneCIDInASpace(t *testing.T) {
	w := newWorld(t)
	l := w.acquire(Request{Machine: "web", Want: 42})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	w.acquire(Request{Machine: "web", Want: 7})
	want := []store.Lease{{CID: 7, Space: store.Global, Machine: "web"}, {CID: 42, Space: store.Global, Last: "web"}}
	if d := cmp.Diff(want, w.leases(store.Global), untimed); d != "" {
		t.Errorf("ledger (want - got +):\n%s", d)
	}
}

// TestLateReleaseGivesNothingBack releases a lease whose number was leased anew
// meanwhile, by its machine and by another one.
func TestLateReleaseGivesNothingBack(t *testing.T) {
	for _, next := range []string{"web", "db"} {
		w := newWorld(t)
		late := w.acquire(Request{Machine: "web", Want: 42})
		if err := late.Close(); err != nil { // its QEMU ended
			t.Fatal(err)
		}
		if next != "web" {
			if err := w.Release(t.Context(), store.Global, 42, "web"); err != nil {
				t.Fatal(err)
			}
		}
		w.acquire(Request{Machine: next, Want: 42})
		if err := late.Release(t.Context()); err != nil {
			t.Error(err)
		}
		if d := cmp.Diff([]store.Lease{leased(42, next)}, w.leases(store.Global), untimed); d != "" || len(w.host.held) != 1 {
			t.Errorf("then leased by %s: kernel holds %v, ledger (want - got +):\n%s", next, w.host.held, d)
		}
	}
}

func TestReleaseIsOnlyForTheOwner(t *testing.T) {
	w := newWorld(t)
	w.put(leased(42, "db"))
	for _, do := range []func() error{
		func() error { return w.Release(t.Context(), store.Global, 42, "web") },
		func() error { return w.Release(t.Context(), store.Global, 43, "db") },
		func() error { return w.Release(t.Context(), "local/a/1", 42, "db") },
	} {
		if err := do(); err != nil {
			t.Error(err)
		}
	}
	if d := cmp.Diff([]store.Lease{leased(42, "db")}, w.leases(store.Global)); d != "" {
		t.Errorf("ledger (want - got +):\n%s", d)
	}
}

func TestStaleEntriesGo(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	local := store.Space("local/a/1")
	w.put(
		store.Lease{CID: 7, Space: local, Freed: now.Add(-coolDown), Last: "x"},
		store.Lease{CID: 8, Space: store.Global, Freed: now.Add(-coolDown), Last: "x"},
		store.Lease{CID: 9, Space: store.Global, Freed: now, Last: "x"},
		leased(10, "db"),
	)
	if err := w.store.Update(t.Context(), w.Sweep); err != nil {
		t.Fatal(err)
	}
	if l := w.leases(local); len(l) != 0 {
		t.Errorf("local space has %v, want nothing", l)
	}
	want := []store.Lease{{CID: 9, Space: store.Global, Last: "x"}, leased(10, "db")}
	if d := cmp.Diff(want, w.leases(store.Global), untimed); d != "" {
		t.Errorf("ledger (want - got +):\n%s", d)
	}
}
