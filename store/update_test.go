package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

var errInjected = errors.New("injected")

func update(t *testing.T, s *Store, fn func(*Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), fn); err != nil {
		t.Fatalf("update: %v", err)
	}
}

// full returns one of everything, every field set that schema 1 had.
func full() (Machine, Lease, Lease, Lease, Netns) {
	at := func(s int) time.Time { return time.Date(2026, 11, 22, 14, 0, s, 5, time.UTC) }
	id := netns.ID{Boot: "6a3b8f0e-1c2d-4e5f-8a9b-0c1d2e3f4a5b", Cookie: 4097}
	local := SpaceOf(id, vsock.Local)
	m := Machine{
		Name: "web", UUID: "0e2f", Spec: configs.Machine{Name: "web", Image: "linux", CPUs: 2, MemoryMiB: 64, CID: 42},
		Netns: NetnsRef{Ref: "blue", ID: id, Mode: vsock.Local, Created: true},
		Space: local, CID: 42, Phase: Failed, Cause: "qemu ended", Boot: id.Boot,
		QEMU: proc.ID{PID: 4711, Start: 99, Boot: id.Boot}, Launcher: proc.ID{PID: 4710, Start: 98, Boot: id.Boot},
		RunDir: "/run/vmlaunch/web", NotifyPort: 50000,
		Created: at(1), Started: at(2), Ready: at(3), Stopped: at(4),
	}
	leased := Lease{CID: 42, Space: local, Machine: "web", Taken: at(2)}
	cooling := Lease{CID: 7, Space: Global, Freed: at(3), Last: "db"}
	foreign := Lease{CID: 300, Space: Global, Foreign: `pid 812 ("qemu")`, Seen: at(4)}
	return m, leased, cooling, foreign, Netns{Name: "blue", ID: id, Mode: vsock.Local, Created: at(1)}
}

// reserved is a lease in the form that schema 2 brought.
func reserved() Lease {
	m, _, _, _, _ := full()
	return Lease{CID: 500, Space: Global, Machine: "db", Taken: m.Created, Generation: 1,
		Reserved: &Reservation{For: "db", Note: "in DNS", Since: m.Created}}
}

// fill writes one of everything.
func fill(tx *Tx) error {
	m, a, b, c, n := full()
	_, err := tx.Generation()
	return errors.Join(err, tx.SetBoot(m.Boot), tx.PutMachine(m), tx.PutLease(a), tx.PutLease(b), tx.PutLease(c),
		tx.PutLease(reserved()), tx.PutNetns(n))
}

func TestRecordsComeBackAsTheyWere(t *testing.T) {
	s := New(filepath.Join(t.TempDir(), "state"))
	update(t, s, fill)
	wantM, leased, cooling, foreign, wantN := full()
	err := s.View(t.Context(), func(tx *Tx) error {
		m, err1 := tx.Machine("web")
		ms, err2 := tx.Machines()
		l, err3 := tx.Lease(leased.Space, 42)
		ls, err4 := tx.Leases(Global)
		n, err5 := tx.Netns("blue")
		ns, err6 := tx.Netnses()
		spaces, err7 := tx.Spaces()
		for _, d := range []string{
			cmp.Diff(wantM, m), cmp.Diff([]Machine{wantM}, ms), cmp.Diff(leased, l),
			cmp.Diff([]Lease{cooling, foreign, reserved()}, ls), cmp.Diff(wantN, n), cmp.Diff([]Netns{wantN}, ns),
			cmp.Diff([]Space{Global, leased.Space}, spaces),
		} {
			if d != "" {
				t.Errorf("want - got +:\n%s", d)
			}
		}
		return errors.Join(err1, err2, err3, err4, err5, err6, err7)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("check: %v", err)
	}
}

func TestErrorsNameTheObject(t *testing.T) {
	s := New(t.TempDir())
	m, leased, _, _, _ := full()
	update(t, s, func(tx *Tx) error { return tx.PutMachine(m) })
	tests := map[string]struct {
		do   func(*Tx) error
		kind error
		text string
	}{
		"no machine":  {func(tx *Tx) error { _, err := tx.Machine("db"); return err }, fs.ErrNotExist, `machine "db": does not exist`},
		"no lease":    {func(tx *Tx) error { _, err := tx.Lease(Global, 9); return err }, fs.ErrNotExist, "cid 9 in space global: does not exist"},
		"no netns":    {func(tx *Tx) error { _, err := tx.Netns("red"); return err }, fs.ErrNotExist, `netns "red": does not exist`},
		"second":      {func(tx *Tx) error { return tx.CreateMachine(m) }, fs.ErrExist, `machine "web": already exists`},
		"no name":     {func(tx *Tx) error { return tx.PutMachine(Machine{Phase: Created}) }, nil, `record machine "": no name`},
		"no phase":    {func(tx *Tx) error { return tx.PutMachine(Machine{Name: "a"}) }, nil, `record machine "a": phase is ""`},
		"bad space":   {func(tx *Tx) error { _, err := tx.Leases("local/x"); return err }, nil, `space is "local/x", want global or local/BOOT/COOKIE`},
		"bad cid":     {func(tx *Tx) error { return tx.PutLease(Lease{CID: 2, Space: Global, Machine: "a"}) }, nil, "record cid 2 in space global: cid is 2"},
		"no owner":    {func(tx *Tx) error { return tx.PutLease(Lease{CID: 3, Space: Global}) }, nil, "record cid 3 in space global: want one of machine, freed, foreign and reserved"},
		"two owners":  {func(tx *Tx) error { l := leased; l.Foreign = "x"; return tx.PutLease(l) }, nil, "record cid 42 in space " + string(leased.Space) + ": want one of machine, freed, foreign and reserved"},
		"no netns id": {func(tx *Tx) error { return tx.PutNetns(Netns{}) }, nil, `record netns "": no name`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := s.Update(t.Context(), tt.do)
			if err == nil || err.Error() != tt.text {
				t.Errorf("got %v, want %s", err, tt.text)
			}
			if tt.kind != nil && !errors.Is(err, tt.kind) {
				t.Errorf("got %v, want it to be %v", err, tt.kind)
			}
		})
	}
}

func TestDeleteIsIdempotentAndLeavesNoEmptySpace(t *testing.T) {
	s := New(t.TempDir())
	update(t, s, fill)
	m, leased, _, _, _ := full()
	for range 2 {
		update(t, s, func(tx *Tx) error {
			return errors.Join(tx.DeleteMachine("web"), tx.DeleteNetns("blue"), tx.DeleteLease(leased.Space, 42),
				tx.DeleteLease(Global, 7), tx.DeleteLease(Global, 500), tx.DeleteSpace(SpaceOf(netns.ID{Boot: "x", Cookie: 1}, vsock.Local)))
		})
	}
	update(t, s, func(tx *Tx) error {
		spaces, err := tx.Spaces()
		if !slices.Equal(spaces, []Space{Global}) {
			t.Errorf("spaces are %q, want the global one: it still has a lease", spaces)
		}
		return err
	})
	update(t, s, func(tx *Tx) error { return errors.Join(tx.DeleteSpace(Global), tx.CreateMachine(m)) })
	err := s.View(t.Context(), func(tx *Tx) error {
		spaces, err := tx.Spaces()
		if len(spaces) != 0 {
			t.Errorf("spaces are %q, want none", spaces)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestViewWithoutAFileSeesNothingAndMakesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	err := New(dir).View(t.Context(), func(tx *Tx) error {
		ms, err1 := tx.Machines()
		ls, err2 := tx.Leases(Global)
		ns, err3 := tx.Netnses()
		spaces, err4 := tx.Spaces()
		if len(ms)+len(ls)+len(ns)+len(spaces) != 0 {
			t.Errorf("got %v %v %v %v, want nothing", ms, ls, ns, spaces)
		}
		if _, err := tx.Machine("web"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v, want fs.ErrNotExist", err)
		}
		return errors.Join(err1, err2, err3, err4)
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("view made %s: %v", dir, err)
	}
}

// TestViewCannotWrite also asks it of a view without a file.
func TestViewCannotWrite(t *testing.T) {
	written := New(t.TempDir())
	update(t, written, fill)
	for name, s := range map[string]*Store{"file": written, "no file": New(t.TempDir())} {
		t.Run(name, func(t *testing.T) {
			m, _, cooling, _, n := full()
			for i, write := range []func(*Tx) error{
				func(tx *Tx) error { return tx.PutMachine(m) },
				func(tx *Tx) error { return tx.PutLease(cooling) },
				func(tx *Tx) error { return tx.PutNetns(n) },
			} {
				if err := s.View(t.Context(), write); !errors.Is(err, errReadOnly) {
					t.Errorf("write %d: got %v, want errReadOnly", i, err)
				}
			}
		})
	}
}

// TestWhatDoesNotCommitLeavesTheFileAlone compares bytes.
func TestWhatDoesNotCommitLeavesTheFileAlone(t *testing.T) {
	s := New(t.TempDir())
	update(t, s, fill)
	before, err := os.ReadFile(s.Path())
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]func(*testing.T){
		"failed update": func(t *testing.T) {
			err := s.Update(t.Context(), func(tx *Tx) error {
				return errors.Join(tx.DeleteMachine("web"), errInjected)
			})
			if !errors.Is(err, errInjected) {
				t.Errorf("got %v, want the function's error", err)
			}
		},
		"panic in update": func(t *testing.T) {
			defer func() {
				if r := recover(); r != "mine" {
					t.Errorf("recovered %v, want the function's own panic", r)
				}
			}()
			_ = s.Update(t.Context(), func(tx *Tx) error {
				_ = tx.DeleteMachine("web")
				panic("mine")
			})
		},
		"update without a change": func(t *testing.T) {
			update(t, s, func(tx *Tx) error { _, err := tx.Machines(); return err })
			update(t, s, func(tx *Tx) error { return tx.DeleteMachine("not there") })
		},
		"view": func(t *testing.T) {
			if err := s.View(t.Context(), func(tx *Tx) error { return nil }); err != nil {
				t.Error(err)
			}
		},
	}
	for name, do := range tests {
		t.Run(name, func(t *testing.T) {
			do(t)
			after, err := os.ReadFile(s.Path())
			if err != nil || !slices.Equal(before, after) {
				t.Errorf("the file changed (%v)", err)
			}
			// The lock is free again.
			if err := s.View(t.Context(), func(tx *Tx) error { _, err := tx.Machine("web"); return err }); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestFilesAreTheOwnersOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "state")
	update(t, New(dir), fill)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s is %v (%v), want 0600", e.Name(), info.Mode(), err)
		}
	}
	if want := []string{"state.db", "state.lock"}; !slices.Equal(names, want) {
		t.Errorf("directory has %q, want %q", names, want)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory is %v (%v), want 0700", info.Mode(), err)
	}
}

// TestUpdatesAreOneAfterTheOther lets many writers add to one counter.
func TestUpdatesAreOneAfterTheOther(t *testing.T) {
	s := New(t.TempDir())
	const writers, each = 16, 5
	var wg sync.WaitGroup
	errs := make(chan error, writers*each)
	for range writers {
		wg.Go(func() {
			for range each {
				errs <- s.Update(t.Context(), count)
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if n := counted(t, s); n != writers*each {
		t.Errorf("counted %d, want %d", n, writers*each)
	}
}

// count adds one to a number kept in a machine.
func count(tx *Tx) error {
	m, err := tx.Machine("count")
	if errors.Is(err, fs.ErrNotExist) {
		m, err = Machine{Name: "count", Phase: Created}, nil
	}
	if err != nil {
		return err
	}
	m.NotifyPort++
	return tx.PutMachine(m)
}

func counted(t *testing.T, s *Store) int {
	t.Helper()
	var m Machine
	err := s.View(context.WithoutCancel(t.Context()), func(tx *Tx) (err error) {
		m, err = tx.Machine("count")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return int(m.NotifyPort)
}
