package cidalloc

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// A mapLedger is a ledger without a store.
type mapLedger map[vsock.CID]store.Lease

func (m mapLedger) lease(c vsock.CID) (store.Lease, error) { return m[c], nil }

func (m mapLedger) owned(machine string) (vsock.CID, error) {
	return m.find(func(l store.Lease) bool { return l.Machine == machine }), nil
}

func (m mapLedger) reservedFor(machine string) (vsock.CID, error) {
	return m.find(func(l store.Lease) bool { return l.Reserved != nil && l.Reserved.For == machine }), nil
}

func (m mapLedger) find(ok func(store.Lease) bool) vsock.CID {
	for c, l := range m {
		if ok(l) {
			return c
		}
	}
	return 0
}

// bookOf returns a book at a time when nothing is stale that cooling and foreign
// make.
func bookOf(leases ...store.Lease) book {
	m := mapLedger{}
	for _, l := range leases {
		m[l.CID] = l
	}
	return book{ledger: m, space: store.Global, own: 5, in: everything(), now: time.Unix(2, 0)}
}

func everything() Range { return Range{vsock.FirstGuest, vsock.LastGuest} }

func leased(c vsock.CID, machine string) store.Lease {
	return store.Lease{CID: c, Space: store.Global, Machine: machine}
}

func cooling(c vsock.CID, last string) store.Lease {
	return store.Lease{CID: c, Space: store.Global, Freed: time.Unix(1, 0), Last: last}
}

func foreign(c vsock.CID) store.Lease {
	return store.Lease{CID: c, Space: store.Global, Foreign: "x", Seen: time.Unix(1, 0)}
}

func reserved(c vsock.CID, machine string) store.Lease {
	return store.Lease{CID: c, Space: store.Global, Reserved: &store.Reservation{For: machine}}
}

func TestChoose(t *testing.T) {
	// Where the hash leads web to in an empty space.
	home, err := bookOf().choose(Request{Machine: "web"})
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		book book
		r    Request
		want vsock.CID
		err  error
	}{
		"wanted":                     {bookOf(), Request{Want: 42}, 42, nil},
		"wanted, cooling":            {bookOf(cooling(42, "db")), Request{Want: 42}, 42, nil},
		"wanted, a stranger's once":  {bookOf(foreign(42)), Request{Want: 42}, 42, nil},
		"wanted, mine already":       {bookOf(leased(42, "web")), Request{Want: 42}, 42, nil},
		"wanted, leased":             {bookOf(leased(42, "db")), Request{Want: 42}, 0, ErrTaken},
		"wanted, this host's":        {bookOf(), Request{Want: 5}, 0, ErrTaken},
		"wanted, hypervisor":         {bookOf(), Request{Want: 1}, 0, vsock.ErrBadCID},
		"wanted, host":               {bookOf(), Request{Want: 2}, 0, vsock.ErrBadCID},
		"wanted, any":                {bookOf(), Request{Want: vsock.Any}, 0, vsock.ErrBadCID},
		"wanted beats last":          {bookOf(), Request{Want: 42, Last: 7}, 42, nil},
		"lowest":                     {bookOf(), Request{Want: 3}, 3, nil},
		"highest":                    {bookOf(), Request{Want: vsock.LastGuest}, vsock.LastGuest, nil},
		"last":                       {bookOf(), Request{Last: 7}, 7, nil},
		"last, cooling after me":     {bookOf(cooling(7, "web")), Request{Last: 7}, 7, nil},
		"last, cooling after others": {bookOf(cooling(7, "db")), Request{Last: 7}, home, nil},
		"last, leased":               {bookOf(leased(7, "db")), Request{Last: 7}, home, nil},
		"last, foreign":              {bookOf(foreign(7)), Request{Last: 7}, home, nil},
		"last, this host's":          {bookOf(), Request{Last: 5}, home, nil},
		"last is reserved":           {bookOf(), Request{Last: 2}, home, nil},
		"leased to me already":       {bookOf(leased(9, "web")), Request{}, 9, nil},
		"last beats leased":          {bookOf(leased(9, "web")), Request{Last: 7}, 7, nil},
		"home":                       {bookOf(), Request{}, home, nil},
		"home taken":                 {bookOf(leased(home, "db")), Request{}, home + 1, nil},
		"home and next taken":        {bookOf(cooling(home, "db"), foreign(home+1)), Request{}, home + 2, nil},
		"home is this host's":        {book{ledger: mapLedger{}, space: store.Global, own: home, in: everything()}, Request{}, home + 1, nil},
		"home cooled":                {bookOf(store.Lease{CID: home, Freed: time.Unix(2, 0).Add(-coolDown), Last: "db"}), Request{}, home, nil},
		"home reserved":              {bookOf(reserved(home, "db")), Request{}, home + 1, nil},
		"home reserved for nobody":   {bookOf(reserved(home, "")), Request{}, home + 1, nil},
		"reserved for me":            {bookOf(reserved(42, "web")), Request{}, 42, nil},
		"reserved for me beats last": {bookOf(reserved(42, "web")), Request{Last: 7}, 42, nil},
		"wanted, reserved for me":    {bookOf(reserved(42, "web")), Request{Want: 42}, 42, nil},
		"wanted, for another":        {bookOf(reserved(42, "db")), Request{Want: 42}, 0, ErrTaken},
		"wanted, for nobody":         {bookOf(reserved(42, "")), Request{Want: 42}, 0, ErrTaken},
		"last, reserved for another": {bookOf(reserved(7, "db")), Request{Last: 7}, home, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.r.Machine = "web"
			got, err := tt.book.choose(tt.r)
			if tt.err == nil && (got != tt.want || err != nil) {
				t.Errorf("got %d, %v, want %d", got, err, tt.want)
			}
			if !errors.Is(err, tt.err) {
				t.Errorf("got error %v, want %v", err, tt.err)
			}
		})
	}
}

func TestHomesAreSpread(t *testing.T) {
	seen := map[vsock.CID]bool{}
	for _, s := range []store.Space{store.Global, "local/a/1", "local/a/2"} {
		for _, m := range []string{"web", "db", "web1", "web2"} {
			b := bookOf()
			b.space = s
			c, err := b.choose(Request{Machine: m})
			if err != nil || seen[c] {
				t.Errorf("%s in %s: got %d (%v), which another one has", m, s, c, err)
			}
			seen[c] = true
		}
	}
}

// TestChooseFindsTheLastOneLeft fills small ranges in all kinds of ways: the
// choice must be allowed, and there must be one as long as one is left.
func TestChooseFindsTheLastOneLeft(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := vsock.CID(rapid.Uint32Range(3, 20).Draw(t, "first"))
		size := rapid.Uint32Range(1, 12).Draw(t, "size")
		leases := mapLedger{}
		b := book{ledger: leases, space: store.Global, in: Range{first, first + vsock.CID(size) - 1}, now: time.Unix(2, 0)}
		b.own = vsock.CID(rapid.Uint32Range(3, 33).Draw(t, "own"))
		left := 0
		for c := b.in.First; c <= b.in.Last; c++ {
			switch rapid.IntRange(0, 4).Draw(t, "state") {
			case 0:
				if c != b.own {
					left++
				}
			case 1:
				leases[c] = leased(c, "db")
			case 2:
				leases[c] = cooling(c, "db")
			case 3:
				leases[c] = foreign(c)
			case 4:
				leases[c] = reserved(c, "db")
			}
		}
		got, err := b.choose(Request{Machine: rapid.String().Draw(t, "machine")})
		if _, busy := leases[got]; err == nil && (busy || got == b.own || got < b.in.First || got > b.in.Last) {
			t.Errorf("got %d of %+v", got, b)
		}
		if (err == nil) != (left > 0) || err != nil && !errors.Is(err, ErrExhausted) {
			t.Errorf("got %v with %d left in %+v", err, left, b)
		}
	})
}

func TestStale(t *testing.T) {
	now := time.Unix(100000, 0)
	tests := map[string]struct {
		l    store.Lease
		want bool
	}{
		"leased":              {store.Lease{Machine: "web"}, false},
		"reserved":            {store.Lease{Reserved: &store.Reservation{}}, false},
		"cooling":             {store.Lease{Freed: now.Add(-coolDown + 1)}, false},
		"cooled":              {store.Lease{Freed: now.Add(-coolDown)}, true},
		"freed in the future": {store.Lease{Freed: now.Add(time.Hour)}, true},
		"met lately":          {store.Lease{Foreign: "x", Seen: now.Add(-foreignMemory + 1)}, false},
		"met long ago":        {store.Lease{Foreign: "x", Seen: now.Add(-foreignMemory)}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := stale(tt.l, now); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// TestRanges asks that what is chosen lies in the range of its space, that a
// number asked for need not, and that an exhausted range says whose it is.
func TestRanges(t *testing.T) {
	local := store.Space("local/a/1")
	ranges := Ranges{Global: Range{10, 11}, Local: Range{100, 101}, Named: map[string]Range{"red": {42, 42}}, Source: "/etc/x.yaml"}
	for name, tt := range map[string]struct {
		place place
		in    Range
		says  string
	}{
		"global":                {place{space: store.Global}, Range{10, 11}, "cid.range.global in /etc/x.yaml"},
		"global, of that name":  {place{space: store.Global, ref: "red"}, Range{10, 11}, "cid.range.global in /etc/x.yaml"},
		"local":                 {place{space: local, ref: "blue"}, Range{100, 101}, "cid.range.local in /etc/x.yaml"},
		"local, of that name":   {place{space: local, ref: "red"}, Range{42, 42}, "cid.range.red in /etc/x.yaml"},
		"local, without a name": {place{space: local, ref: "pid:1"}, Range{100, 101}, "cid.range.local in /etc/x.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.Ranges, w.host.place = ranges, tt.place
			for c := tt.in.First; c <= tt.in.Last; c++ {
				l := w.acquire(Request{Machine: c.String()})
				if l.CID() < tt.in.First || l.CID() > tt.in.Last {
					t.Errorf("got %d, want %d to %d", l.CID(), tt.in.First, tt.in.Last)
				}
			}
			_, err := w.Acquire(t.Context(), Request{Machine: "more"})
			if !errors.Is(err, ErrExhausted) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want no cid left and %s", err, tt.says)
			}
			w.acquire(Request{Machine: "more", Want: 5000})
			if err := w.Release(t.Context(), tt.place.space, 5000, "more"); err != nil {
				t.Fatal(err)
			}
			delete(w.host.held, claim{tt.place.space, 5000})
			w.acquire(Request{Machine: "more", Last: 5000})
		})
	}
	if in, source := (Ranges{}).of(place{space: store.Global}); in != everything() || source != "" {
		t.Errorf("without ranges: got %v%s", in, source)
	}
}
