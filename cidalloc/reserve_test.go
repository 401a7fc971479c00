package cidalloc

import (
	"errors"
	"io/fs"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

func TestReserve(t *testing.T) {
	now := time.Unix(1e9, 0).UTC()
	kept := func(forMachine, note string, since time.Time) store.Lease {
		return store.Lease{CID: 42, Space: store.Global, Reserved: &store.Reservation{For: forMachine, Note: note, Since: since}}
	}
	both := leased(42, "web")
	both.Reserved = kept("web", "", now).Reserved
	tests := map[string]struct {
		have []any
		own  vsock.CID
		r    ReserveRequest
		want store.Lease
		err  error
	}{
		"for a machine":              {r: ReserveRequest{CID: 42, For: "web", Note: "why"}, want: kept("web", "why", now)},
		"for none of ours":           {r: ReserveRequest{CID: 42}, want: kept("", "", now)},
		"cooling":                    {have: []any{store.Lease{CID: 42, Space: store.Global, Freed: now, Last: "x"}}, r: ReserveRequest{CID: 42}, want: kept("", "", now)},
		"a stranger's once":          {have: []any{store.Lease{CID: 42, Space: store.Global, Foreign: "x", Seen: now}}, r: ReserveRequest{CID: 42}, want: kept("", "", now)},
		"again, another note":        {have: []any{kept("web", "old", now.Add(-time.Hour))}, r: ReserveRequest{CID: 42, For: "web", Note: "new"}, want: kept("web", "new", now.Add(-time.Hour))},
		"for another one":            {have: []any{kept("db", "", now)}, r: ReserveRequest{CID: 42, For: "web"}, want: kept("db", "", now), err: ErrTaken},
		"for another, by nobody":     {have: []any{kept("db", "", now)}, r: ReserveRequest{CID: 42}, want: kept("db", "", now), err: ErrTaken},
		"its own lease":              {have: []any{leased(42, "web")}, r: ReserveRequest{CID: 42, For: "web"}, want: both},
		"its own lease, no number":   {have: []any{leased(42, "web")}, r: ReserveRequest{For: "web"}, want: both},
		"another's lease":            {have: []any{leased(42, "db")}, r: ReserveRequest{CID: 42, For: "web"}, want: leased(42, "db"), err: ErrTaken},
		"another's lease, by nobody": {have: []any{leased(42, "db")}, r: ReserveRequest{CID: 42}, want: leased(42, "db"), err: ErrTaken},
		"this host's":                {own: 42, r: ReserveRequest{CID: 42}, err: ErrTaken},
		"reserved by the kernel":     {r: ReserveRequest{CID: 2}, err: vsock.ErrBadCID},
		"has another one":            {have: []any{kept("web", "", now)}, r: ReserveRequest{CID: 43, For: "web"}, want: kept("web", "", now), err: fs.ErrExist},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.now = func() time.Time { return now }
			if tt.own != 0 {
				w.host.ownCID = tt.own
			}
			w.put(tt.have...)
			c, err := w.Reserve(t.Context(), tt.r)
			if !errors.Is(err, tt.err) || err == nil && c != 42 {
				t.Errorf("got %d, %v, want %v", c, err, tt.err)
			}
			var want []store.Lease
			if tt.want.CID != 0 {
				want = []store.Lease{tt.want}
			}
			got := w.leases(store.Global)
			if d := cmp.Diff(want, got[:len(got):len(got)], cmp.Transformer("utc", func(t time.Time) int64 { return t.UnixNano() })); d != "" && len(want)+len(got) > 0 {
				t.Errorf("ledger (want - got +):\n%s", d)
			}
		})
	}
}

// TestReserveChooses asks for numbers without naming any: each is another one,
// none is a stranger's, and a machine gets what was chosen for it.
func TestReserveChooses(t *testing.T) {
	w := newWorld(t)
	home := w.acquire(Request{Machine: "web"}).CID()
	w = newWorld(t)
	w.host.held[claim{store.Global, home}] = "someone"
	c, err := w.Reserve(t.Context(), ReserveRequest{For: "web"})
	if err != nil || c != home+1 {
		t.Fatalf("got %d, %v, want %d: a stranger has %d", c, err, home+1, home)
	}
	seen := map[vsock.CID]bool{c: true}
	for range 20 {
		c, err := w.Reserve(t.Context(), ReserveRequest{})
		if err != nil || seen[c] {
			t.Fatalf("got %d, %v, want a new one", c, err)
		}
		seen[c] = true
	}
	if again, err := w.Reserve(t.Context(), ReserveRequest{For: "web"}); again != c || err != nil {
		t.Errorf("again: got %d, %v, want %d", again, err, c)
	}
	if w.host.heldOnce != 0 {
		t.Errorf("%d numbers were claimed", w.host.heldOnce)
	}
	if l := w.acquire(Request{Machine: "web"}); l.CID() != c {
		t.Errorf("the machine got %d, want %d", l.CID(), c)
	}
	full := newWorld(t)
	for i := range maxRefusals {
		full.host.held[claim{store.Global, home + vsock.CID(i)}] = "someone"
	}
	if c, err := full.Reserve(t.Context(), ReserveRequest{For: "web"}); !errors.Is(err, ErrExhausted) {
		t.Errorf("all taken: got %d, %v", c, err)
	}
}

func TestUnreserve(t *testing.T) {
	reservedAndLeased := leased(42, "web")
	reservedAndLeased.Reserved = &store.Reservation{For: "web"}
	tests := map[string]struct {
		have store.Lease
		was  RowState
		left []store.Lease
		err  error
	}{
		"nothing":             {},
		"reserved":            {have: reserved(42, "web"), was: Reserved},
		"reserved for nobody": {have: reserved(42, ""), was: Reserved},
		"cooling":             {have: cooling(42, "db"), was: Cooling},
		"a stranger's":        {have: foreign(42), was: Foreign},
		"leased":              {have: leased(42, "db"), left: []store.Lease{leased(42, "db")}, err: fs.ErrExist},
		"leased and reserved": {have: reservedAndLeased, was: Leased, left: []store.Lease{leased(42, "web")}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if tt.have.CID != 0 {
				w.put(tt.have)
			}
			for range 2 { // twice is fine, but for a lease
				was, err := w.Unreserve(t.Context(), nil, 42)
				if !errors.Is(err, tt.err) || was.State != tt.was {
					t.Errorf("got %q, %v, want %q, %v", was.State, err, tt.was, tt.err)
				}
				if d := cmp.Diff(tt.left, w.leases(store.Global)); d != "" && len(tt.left)+len(w.leases(store.Global)) > 0 {
					t.Errorf("ledger (want - got +):\n%s", d)
				}
				if tt.was = ""; len(tt.left) > 0 {
					break
				}
			}
		})
	}
	w := newWorld(t)
	w.put(leased(42, "db"))
	if _, err := w.Unreserve(t.Context(), nil, 42); err == nil || err.Error() != `release cid: cid 42: machine "db" has it (vmlaunch rm db)` {
		t.Errorf("got %v", err)
	}
}

// TestMap has a host with one of everything.
func TestMap(t *testing.T) {
	w := newWorld(t)
	now := time.Now().Round(0).UTC()
	local := store.Space("local/a/1")
	w.host.ownCID = 5
	w.host.held[claim{store.Global, 9}] = "pid 812"
	w.host.held[claim{local, 42}] = "pid 900"
	w.host.places = []place{{space: store.Global, ref: "blue"}}
	w.host.openers = []opener{
		{pid: 812, args: []string{"qemu"}, cids: []vsock.CID{9}, space: store.Global, ref: "red"},
		{pid: 813, args: []string{"crosvm"}, space: store.Global},
		{pid: 900, args: []string{"qemu"}, cids: []vsock.CID{42}, space: local, ref: "cell"},
	}
	w.put(
		store.Lease{CID: 9, Space: store.Global, Foreign: "pid 812", Seen: now},
		store.Lease{CID: 10, Space: store.Global, Freed: now, Last: "db"},
		store.Lease{CID: 42, Space: local, Machine: "web", Taken: now},
	)
	got, err := w.Map(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	yes, no := true, false
	want := []Row{
		{CID: 0, Space: store.Global, Mode: vsock.Global, State: Foreign, PID: 813, Holder: `pid 813 ("crosvm")`},
		{CID: 5, Space: store.Global, Mode: vsock.Global, State: Host, Holder: thisHost, Held: &yes},
		{CID: 9, Space: store.Global, Mode: vsock.Global, State: Foreign, Netns: "red", PID: 812, Holder: `pid 812 ("qemu")`, Since: now, Held: &yes},
		{CID: 10, Space: store.Global, Mode: vsock.Global, State: Cooling, Machine: "db", Since: now, Held: &no},
		// Nobody found a namespace of the local space, so nobody asked there.
		{CID: 42, Space: local, Mode: vsock.Local, State: Leased, Machine: "web", Since: now},
		{CID: 42, Space: local, Mode: vsock.Local, State: Foreign, Netns: "cell", PID: 900, Holder: `pid 900 ("qemu")`},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(want - got +):\n%s", d)
	}
	if w.host.heldOnce != 0 {
		t.Error("the map claimed something")
	}
}
