package store

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// FuzzDecode feeds records of each type. What is accepted must come back the
// same after being written again; what is not is ErrCorrupt.
func FuzzDecode(f *testing.F) {
	m, leased, cooling, foreign, n := full()
	for _, r := range []record{m, leased, cooling, foreign, n} {
		v, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(r.key(), v)
	}
	f.Fuzz(func(t *testing.T, key string, v []byte) {
		decodeTwice(t, machineShelf(), key, v)
		decodeTwice(t, leaseShelf(Global), key, v)
		decodeTwice(t, netnsShelf(), key, v)
	})
}

func decodeTwice[R record](t *testing.T, s shelf[R], key string, v []byte) {
	t.Helper()
	r, err := s.decode(key, v)
	if err != nil {
		if !errors.Is(err, ErrCorrupt) {
			t.Fatalf("got %v, want ErrCorrupt", err)
		}
		return
	}
	again, err := json.Marshal(r)
	if err != nil {
		t.Fatalf("%+v can be read but not written: %v", r, err)
	}
	r2, err := s.decode(key, again)
	if err != nil {
		t.Fatalf("%s: %v", again, err)
	}
	if d := cmp.Diff(r, r2); d != "" {
		t.Fatalf("written again it differs:\n%s", d)
	}
}

func TestSpaceIsReversible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := netns.ID{Boot: rapid.StringMatching(`[0-9a-f-]{1,36}`).Draw(t, "boot"), Cookie: rapid.Uint64().Draw(t, "cookie")}
		s := SpaceOf(id, vsock.Local)
		if s.ID() != id || s.Mode() != vsock.Local || s.check() != nil {
			t.Errorf("%q: id %v, mode %v, check %v; want %v", s, s.ID(), s.Mode(), s.check(), id)
		}
		if g := SpaceOf(id, vsock.Global); g != Global || g.Mode() != vsock.Global || !g.ID().IsZero() {
			t.Errorf("global namespace: got %q, %v", g, g.ID())
		}
	})
	for _, bad := range []Space{"", "x", "local/", "local/a", "local/a/", "local//1", "local/a/-1", "local/a/01", "local/a/1/2", "global/"} {
		if bad.check() == nil {
			t.Errorf("%q passes as a space", bad)
		}
	}
}

// TestLeasesSortAsNumbers asks the order of random CIDs.
func TestLeasesSortAsNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cid := rapid.Uint32Range(3, 0xfffffffe)
		a, b := cid.Draw(t, "a"), cid.Draw(t, "b")
		if (cidKey(vsock.CID(a)) < cidKey(vsock.CID(b))) != (a < b) {
			t.Errorf("%d and %d sort the wrong way", a, b)
		}
	})
}
