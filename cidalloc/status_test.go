package cidalloc

import (
	"errors"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// TestLook has each way in which ledger and kernel can agree or differ about a
// CID, and asks that Acquire says the same as Look foretold.
func TestLook(t *testing.T) {
	self, err := proc.Self()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1e9, 0)
	running := store.Machine{Name: "db", Phase: store.Running, QEMU: self, Netns: store.NetnsRef{Ref: "blue"}}
	stopped := store.Machine{Name: "db", Phase: store.Stopped, Netns: store.NetnsRef{Ref: "red"}}
	const stranger = `pid 812 ("qemu")`
	kept := store.Lease{CID: 42, Space: store.Global, Reserved: &store.Reservation{For: "web", Note: "the exam"}}
	tests := map[string]struct {
		records []any
		holder  string // in the kernel; "" is nobody, "?" is somebody not found
		own     vsock.CID
		state   RowState
		free    bool
		says    string
	}{
		"nobody": {state: Free, free: true, says: `free`},
		"this host's": {own: 42, state: Host,
			says: `held by foreign hypervisor: it is this host's own, which is a guest`},
		"a stranger's": {holder: stranger, state: Foreign, says: `held by foreign pid 812 ("qemu")`},
		"somebody's":   {holder: "?", state: Foreign, says: `held by foreign process that was not found`},
		"running": {records: []any{leased(42, "db"), running}, holder: stranger, state: Leased,
			says: `held by machine "db" (` + self.String() + `)`},
		"running, without its number": {records: []any{leased(42, "db"), running}, state: Leased,
			says: `held by machine "db" (` + self.String() + `), but in the kernel by nobody`},
		"stopped": {records: []any{leased(42, "db"), stopped}, state: Leased, says: `held by machine "db" in netns "red" (stopped)`},
		"stopped, and a stranger came": {records: []any{leased(42, "db"), stopped}, holder: stranger, state: Leased,
			says: `held by machine "db" in netns "red" (stopped), but in the kernel by foreign pid 812 ("qemu")`},
		"reserved": {records: []any{kept}, state: Reserved,
			says: `reserved for machine "web" (the exam) (vmlaunch cid release 42 --netns blue)`},
		"reserved, and a stranger came": {records: []any{kept}, holder: stranger, state: Reserved,
			says: `reserved for machine "web" (the exam), held by foreign pid 812 ("qemu") (vmlaunch cid release 42 --netns blue)`},
		"cooling": {records: []any{store.Lease{CID: 42, Space: store.Global, Freed: now.Add(-20 * time.Second), Last: "db"}}, state: Cooling, free: true,
			says: `free (machine "db" gave it back 20s ago; chosen unasked again in 40s)`},
		"cooled": {records: []any{store.Lease{CID: 42, Space: store.Global, Freed: now.Add(-coolDown), Last: "db"}}, state: Free, free: true,
			says: `free`},
		"a stranger's once": {records: []any{store.Lease{CID: 42, Space: store.Global, Foreign: stranger, Seen: now.Add(-time.Minute)}}, state: Free, free: true,
			says: `free (pid 812 ("qemu") had it 1m0s ago; chosen unasked again in 9m0s)`},
		"a stranger's still": {records: []any{store.Lease{CID: 42, Space: store.Global, Foreign: stranger, Seen: now}}, holder: stranger, state: Foreign,
			says: `held by foreign pid 812 ("qemu")`},
		"cooling, and a stranger came": {records: []any{store.Lease{CID: 42, Space: store.Global, Freed: now, Last: "db"}}, holder: stranger, state: Foreign,
			says: `held by foreign pid 812 ("qemu")`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.now = func() time.Time { return now }
			w.put(tt.records...)
			if tt.holder != "" {
				w.host.held[claim{store.Global, 42}] = map[bool]string{false: tt.holder}[tt.holder == "?"]
			}
			if tt.own != 0 {
				w.host.ownCID = tt.own
			}
			before := w.leases(store.Global)
			s, err := w.Look(t.Context(), nil, 42)
			if err != nil {
				t.Fatal(err)
			}
			if want := `cid 42 in netns "blue": ` + tt.says; s.Says != want {
				t.Errorf("says %s\nwant %s", s.Says, want)
			}
			held := tt.holder != "" || tt.own != 0
			if s.State != tt.state || s.Free != tt.free || s.Held == nil || *s.Held != held || s.Nobody() != (tt.state == Free) || s.CID != 42 {
				t.Errorf("got %+v, held %v", s, s.Held)
			}
			if errors.Is(s.Err(), ErrTaken) == tt.free {
				t.Errorf("error is %v", s.Err())
			}
			if len(w.leases(store.Global)) != len(before) || w.host.heldOnce != 0 {
				t.Error("looking left a trace")
			}
			clock := now
			w.now = func() time.Time { // which the wait for a holder nobody finds goes by
				clock = clock.Add(time.Second)
				return clock
			}
			l, err := w.Acquire(t.Context(), Request{Machine: "other", Want: 42})
			if (err == nil) != tt.free {
				t.Errorf("look foretold free=%v, acquire got %v, %v", tt.free, l, err)
			}
		})
	}
}

func TestLookRefusesWhatNoGuestMayHave(t *testing.T) {
	for _, c := range []vsock.CID{0, 1, 2, vsock.Any} {
		if _, err := newWorld(t).Look(t.Context(), nil, c); !errors.Is(err, vsock.ErrBadCID) {
			t.Errorf("cid %d: got %v", c, err)
		}
	}
}

func TestLookFailsWithTheKernel(t *testing.T) {
	for n := 1; n <= 3; n++ { // look, own, claimed
		w := newWorld(t)
		w.host.failAt = n
		if s, err := w.Look(t.Context(), nil, 42); !errors.Is(err, errInjected) {
			t.Errorf("step %d: got %+v, %v", n, s, err)
		}
	}
}

func TestHolder(t *testing.T) {
	local := store.Space("local/a/1")
	all := []opener{
		{pid: 1, args: []string{"elsewhere"}, cids: []vsock.CID{42}, space: local},
		{pid: 2, args: []string{"crosvm"}, space: store.Global},
		{pid: 3, args: []string{"qemu", "guest-cid=42"}, cids: []vsock.CID{7, 42}, space: store.Global},
	}
	const silent = `pid 2 ("crosvm") has a vhost-vsock device with a cid that can't be seen`
	for _, tt := range []struct {
		s     store.Space
		c     vsock.CID
		words string
		found bool
	}{
		{store.Global, 42, `pid 3 ("qemu guest-cid=42")`, true},
		{store.Global, 43, anonymous + "; " + silent, false},
		{local, 42, `pid 1 ("elsewhere")`, true},
		{local, 43, "", false},
	} {
		if words, found := holder(all, tt.s, tt.c); words != tt.words || found != tt.found {
			t.Errorf("cid %d in %s: got %q, %v", tt.c, tt.s, words, found)
		}
	}
}
