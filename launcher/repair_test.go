package launcher

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/internal/fakeqemu"
	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// village brings up machines in every kind of place: two in a namespace that is
// made for the first and handed on, one in a namespace of its own that was made
// before, and one that is down.
func (b *bench) village() (before store.Salvage) {
	b.t.Helper()
	ctx := b.t.Context()
	if err := b.CreateNetns(ctx, b.netnsName("c"), vsock.Global); err != nil {
		b.t.Fatal(err)
	}
	for i, m := range []struct{ name, netns, mode string }{
		{"gone", b.netnsName("m"), "global"}, {"heir", b.netnsName("m"), ""}, {"web", b.netnsName("c"), ""}, {"down", "", ""},
	} {
		spec := b.fakeSpec(fakeqemu.Behaviour{})
		spec.Name, spec.Netns, spec.Vsock, spec.CID = m.name, m.netns, m.mode, uint32(50+i)
		b.launch(spec, Detached())
	}
	for name, verb := range map[string]func(context.Context, string, time.Duration) error{"gone": b.Down, "down": b.Stop} {
		if err := verb(ctx, name, 0); err != nil {
			b.t.Fatal(err)
		}
	}
	return b.salvage()
}

// leave takes a village down and asks that nothing is left.
func (b *bench) leave() {
	b.t.Helper()
	for _, name := range b.names() {
		if err := b.Down(b.t.Context(), name, 0); err != nil {
			b.t.Error(err)
		}
	}
	if err := b.RemoveNetns(b.t.Context(), b.netnsName("c")); err != nil {
		b.t.Error(err)
	}
	b.wantNothing()
}

func (b *bench) salvage() store.Salvage {
	b.t.Helper()
	s, err := b.Store.Salvage(b.t.Context())
	if err != nil || len(s.Damage) > 0 {
		b.t.Fatalf("read the state: %v, %v", err, s.Damage)
	}
	return s
}

// wantRecords asks that the machines and namespaces of before are recorded as
// they were, as far as that counts, and that each machine has its CID.
func (b *bench) wantRecords(before store.Salvage) {
	b.t.Helper()
	now := b.salvage()
	if len(now.Machines) != len(before.Machines) || len(now.Netnses) != len(before.Netnses) {
		b.t.Errorf("recorded are %+v and %+v\nwant %+v and %+v", now.Machines, now.Netnses, before.Machines, before.Netnses)
		return
	}
	for i, was := range before.Machines {
		is := now.Machines[i]
		if is.Name != was.Name || is.UUID != was.UUID || is.Phase != was.Phase || is.QEMU != was.QEMU || is.CID != was.CID ||
			is.Space != was.Space || is.Netns != was.Netns || is.Spec.CID != was.Spec.CID || is.Started.IsZero() {
			b.t.Errorf("recorded is %+v\nwant %+v", is, was)
		}
		if !slices.ContainsFunc(now.Leases, func(l store.Lease) bool {
			return l.Machine == is.Name && l.CID == is.CID && l.Space == is.Space
		}) {
			b.t.Errorf("machine %s has no lease of its cid", is.Name)
		}
	}
	for i, was := range before.Netnses {
		if is := now.Netnses[i]; is.Name != was.Name || is.ID != was.ID || is.Mode != was.Mode || is.Pending || !is.Created.Equal(was.Created) {
			b.t.Errorf("recorded is %+v\nwant %+v", is, was)
		}
	}
}

// TestRepairMakesTheStateAnew loses the state file in every way while machines
// run.
func TestRepairMakesTheStateAnew(t *testing.T) {
	for name, lose := range map[string]func(path string, text []byte) error{
		"deleted": func(path string, _ []byte) error { return os.Remove(path) },
		"empty":   func(path string, _ []byte) error { return os.Truncate(path, 0) },
		"garbage": func(path string, text []byte) error {
			return os.WriteFile(path, []byte(strings.Repeat("garbage\n", 9999)), 0o600)
		},
		"cut": func(path string, text []byte) error { return os.Truncate(path, int64(len(text)/2)) },
		"pages zeroed": func(path string, text []byte) error {
			clear(text[2*os.Getpagesize():]) // all but those that lead to the rest
			return os.WriteFile(path, text, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, true)
			before := b.village()
			text, err := os.ReadFile(b.Store.Path())
			if err != nil {
				t.Fatal(err)
			}
			if err := lose(b.Store.Path(), text); err != nil {
				t.Fatal(err)
			}
			lost, lostErr := os.ReadFile(b.Store.Path())
			foreseen, err := b.Repair(t.Context(), true)
			if err != nil {
				t.Fatal(err)
			}
			if now, nowErr := os.ReadFile(b.Store.Path()); string(now) != string(lost) || errors.Is(nowErr, fs.ErrNotExist) != errors.Is(lostErr, fs.ErrNotExist) {
				t.Error("the dry run has changed the state file")
			}
			done, err := b.Repair(t.Context(), false)
			if err != nil || len(done) != len(foreseen) {
				t.Errorf("got %v, %v\nforeseen was %v", done, err, foreseen)
			}
			b.wantRecords(before)
			if kept, _ := filepath.Glob(b.Store.Path() + ".damaged-*"); lostErr == nil && len(kept) != 1 {
				t.Errorf("kept are %q, want the damaged file", kept)
			} else if lostErr == nil {
				if old, err := os.ReadFile(kept[0]); err != nil || string(old) != string(lost) {
					t.Errorf("the damaged file is not kept as it was: %v", err)
				}
			}
			if again, err := b.Repair(t.Context(), false); err != nil || len(again) > 0 {
				t.Errorf("a second repair finds more: %v, %v", again, err)
			}
			b.leave()
		})
	}
}

// TestRepairOfStateOfAnotherTime puts a copy of the state back that was made when
// a machine was down and another one was not there.
func TestRepairOfStateOfAnotherTime(t *testing.T) {
	b := newBench(t, true)
	spec := b.fakeSpec(fakeqemu.Behaviour{})
	b.launch(spec, Detached())
	if err := b.Stop(t.Context(), "web", 0); err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(b.Store.Path())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Start(t.Context(), "web", Detached()); err != nil {
		t.Fatal(err)
	}
	later := spec
	later.Name, later.CID, later.Vsock = "later", 43, ""
	b.launch(later, Detached())
	before := b.salvage()
	if err := os.WriteFile(b.Store.Path(), old, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Repair(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	b.wantRecords(before)
	for _, m := range before.Machines {
		if err := b.Down(t.Context(), m.Name, 0); err != nil {
			t.Error(err)
		}
	}
	b.wantNothing()
}

// TestRepairOfAWholeStateChangesNothing lets repair look at what is as it should
// be, and at an installation that has nothing.
func TestRepairOfAWholeStateChangesNothing(t *testing.T) {
	b := newBench(t, true)
	if done, err := b.Repair(t.Context(), false); err != nil || len(done) > 0 {
		t.Errorf("nothing: %v, %v", done, err)
	}
	if _, err := os.Stat(b.Store.Path()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a state file was made: %v", err)
	}
	before := b.village()
	if done, err := b.Repair(t.Context(), false); err != nil || len(done) > 0 {
		t.Errorf("a village: %v, %v", done, err)
	}
	b.wantRecords(before)
	b.leave()
}

// TestRepairLeavesVerbsAlone repairs, as another command would, from within each
// step of a launch, while the state file is gone.
func TestRepairLeavesVerbsAlone(t *testing.T) {
	b := newBench(t, true)
	other := newLauncher(b.root, true)
	b.Step = func(step string) {
		if step != "netns" { // else there is none yet
			defer b.putBack(b.setAside())
		}
		if done, err := other.Repair(t.Context(), false); err != nil || len(done) > 0 {
			t.Errorf("%s: %v, %v", step, done, err)
		}
	}
	b.launch(b.fakeSpec(fakeqemu.Behaviour{}), Detached())
	b.Step = nil
	if err := b.Down(t.Context(), "web", 0); err != nil {
		t.Error(err)
	}
	b.wantNothing()
}

// TestReckon holds the decision to account where no village can be made.
func TestReckon(t *testing.T) {
	const boot = "this boot"
	id := netns.ID{Boot: boot, Cookie: 7}
	local := store.SpaceOf(id, vsock.Local)
	q := qemu{id: proc.ID{PID: 4711, Start: 1, Boot: boot}, netns: store.NetnsRef{Ref: "cell", ID: id, Mode: vsock.Local}}
	card := func(name, uuid string, c vsock.CID) store.Machine {
		return store.Machine{Name: name, UUID: uuid, Phase: store.Starting, CID: c, Space: local, Netns: q.netns, Started: time.Unix(1, 0)}
	}
	stranger := store.Lease{CID: 9, Space: store.Global, Foreign: "pid 1", Seen: time.Unix(1, 0)}
	for _, c := range []struct {
		name string
		seen seen
		want []string
	}{
		{"nothing", seen{}, nil},
		{"runs without a record", seen{cards: []store.Machine{card("web", "u", 42)}, qemus: map[string]qemu{"u": q}},
			[]string{`repair machine "web": adopt: it runs as pid 4711 with cid 42 in netns "cell", and there is no record of it`}},
		{"the kernel does not know its cid", seen{cards: []store.Machine{card("web", "u", 42)}, qemus: map[string]qemu{"u": q}, held: map[claimed]bool{{local, 42}: false}},
			[]string{`repair machine "web": adopt: it runs as pid 4711 with cid 42 in netns "cell", and there is no record of it; the kernel says that nobody has its cid`}},
		{"a verb is at work", seen{cards: []store.Machine{card("web", "u", 42)}, qemus: map[string]qemu{"u": q}, busy: map[string]bool{"machine web": true}}, nil},
		{"its files are there", seen{cards: []store.Machine{card("web", "u", 42)}, names: map[string]netns.ID{"cell": id}},
			[]string{`repair machine "web": adopt as stopped: its files are there, and no record of it`}},
		{"one cid, one runs", seen{cards: []store.Machine{card("a", "v", 42), card("web", "u", 42)}, qemus: map[string]qemu{"u": q}}, []string{
			`repair machine "web": adopt: it runs as pid 4711 with cid 42 in netns "cell", and there is no record of it`,
			`repair machine "a": adopt as stopped: its files are there, and no record of it; its cid 42 is machine "web"'s by now`,
		}},
		{"recorded as it is", seen{said: store.Salvage{Machines: []store.Machine{{Name: "web", UUID: "u", Phase: store.Running}}},
			cards: []store.Machine{card("web", "u", 42)}, qemus: map[string]qemu{"u": q}}, nil},
		{"recorded as another one", seen{said: store.Salvage{Machines: []store.Machine{{Name: "web", UUID: "old", Phase: store.Running}}},
			cards: []store.Machine{card("web", "u", 42)}, qemus: map[string]qemu{"u": q}},
			[]string{`repair machine "web": adopt: it runs as pid 4711 with cid 42 in netns "cell", and its record is of another time`}},
		{"recorded without a lease", seen{said: store.Salvage{Machines: []store.Machine{{Name: "web", CID: 42, Space: store.Global, Phase: store.Stopped}}}},
			[]string{`repair machine "web": lease cid 42 in space global to it: its record has it, and there is no lease`}},
		{"recorded in a space that is gone", seen{said: store.Salvage{Machines: []store.Machine{{Name: "web", CID: 42, Space: local, Phase: store.Stopped}}}}, nil},
		{"a namespace that is gone", seen{boot: boot, said: store.Salvage{Netnses: []store.Netns{{Name: "cell", ID: id}}}, names: map[string]netns.ID{"cell": {Boot: boot, Cookie: 8}}},
			[]string{`repair: forget netns "cell": it is gone, or another one has its name`}},
		{"a namespace without a record", seen{netnses: []store.Netns{{Name: "cell", ID: id, Pending: true}}, names: map[string]netns.ID{"cell": id}},
			[]string{`repair: adopt netns "cell": it is there, and no record of it`}},
		{"a card of a namespace that is gone", seen{netnses: []store.Netns{{Name: "cell", ID: id}}}, nil},
		{"a stranger that has let go", seen{said: store.Salvage{Leases: []store.Lease{stranger}}, held: map[claimed]bool{{store.Global, 9}: false}},
			[]string{`repair: forget that foreign pid 1 has cid 9 in space global: the kernel says that nobody has it`}},
		{"a stranger that holds on", seen{said: store.Salvage{Leases: []store.Lease{stranger}}, held: map[claimed]bool{{store.Global, 9}: true}}, nil},
		{"a stranger nobody was asked about", seen{said: store.Salvage{Leases: []store.Lease{stranger}}}, nil},
	} {
		var got []string
		for _, change := range reckon(c.seen) {
			got = append(got, change.String())
			if c.name == "one cid, one runs" && change.lease != (change.Machine == "web") {
				t.Errorf("%s: %s has the lease: %v", c.name, change.Machine, change.lease)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", c.name, got, c.want)
		}
	}
}

// TestRepairRefusesTheStateOfANewerVmlaunch changes the schema's number in the
// file. Nothing is made anew.
func TestRepairRefusesTheStateOfANewerVmlaunch(t *testing.T) {
	b := newBench(t, true)
	before := b.village()
	old, err := os.ReadFile(b.Store.Path())
	if err != nil {
		t.Fatal(err)
	}
	newer := strings.ReplaceAll(string(old), "schema\x00\x00\x00\x02", "schema\x00\x00\x00\x63")
	if newer == string(old) {
		t.Fatal("no schema in the file")
	}
	if err := os.WriteFile(b.Store.Path(), []byte(newer), 0o600); err != nil {
		t.Fatal(err)
	}
	var schema *store.SchemaError
	if done, err := b.Repair(t.Context(), false); !errors.As(err, &schema) || len(done) > 0 {
		t.Errorf("got %v, %v, want a SchemaError", done, err)
	}
	if now, err := os.ReadFile(b.Store.Path()); err != nil || string(now) != newer {
		t.Errorf("the file was changed (%v)", err)
	}
	if err := os.WriteFile(b.Store.Path(), old, 0o600); err != nil {
		t.Fatal(err)
	}
	b.wantRecords(before)
	b.leave()
}

// TestAuditIsDoneOnceABoot writes what no verb leaves into a file that was looked
// at in this boot: only repair looks at all of it again. Without a file none is
// made.
func TestAuditIsDoneOnceABoot(t *testing.T) {
	b := newBench(t, true)
	if _, err := b.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(b.Store.Path()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a state file was made: %v", err)
	}
	nobodys := store.Lease{CID: 50, Space: store.Global, Machine: "nobody", Taken: time.Now()}
	put := func() {
		t.Helper()
		if err := b.Store.Update(t.Context(), func(tx *store.Tx) error { return tx.PutLease(nobodys) }); err != nil {
			t.Fatal(err)
		}
	}
	put()
	if done, err := b.Reconcile(t.Context()); err != nil || len(done) != 1 {
		t.Errorf("the first look in a boot: %v, %v, want one repair", done, err)
	}
	put()
	if done, err := b.Reconcile(t.Context()); err != nil || len(done) != 0 {
		t.Errorf("the second look: %v, %v, want none", done, err)
	}
	if done, err := b.Repair(t.Context(), false); err != nil || len(done) != 1 {
		t.Errorf("repair: %v, %v, want one", done, err)
	}
}
