package cidalloc

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

var errInjected = errors.New("injected")

// A claim is a CID held in the fake kernel.
type claim struct {
	space store.Space
	cid   vsock.CID
}

// fakeHost is a kernel that does what fact 12 of KERNEL.md says: a CID is held
// once in a space. It fails call failAt, counted over all methods.
type fakeHost struct {
	place      place
	ownCID     vsock.CID
	held       map[claim]string    // by whom, "" if that can't be found out
	until      map[claim]time.Time // when the kernel lets go of what it holds, if it does
	openers    []opener
	places     []place
	refuse     error // instead of any claim
	heldOnce   int   // claims made so far
	tried      int   // and tried: ioctls, on a real kernel
	lookedFor  int
	meanwhile  func() // what happens while a holder is looked for
	failAt, at int
}

func (h *fakeHost) step() error {
	if h.at++; h.at == h.failAt {
		return errInjected
	}
	return nil
}

func (h *fakeHost) look(*netns.NS) (place, error) { return h.place, h.step() }
func (h *fakeHost) own() (vsock.CID, error)       { return h.ownCID, h.step() }

func (h *fakeHost) who(p place, c vsock.CID) (string, bool) {
	h.lookedFor++
	if h.meanwhile != nil {
		h.meanwhile()
	}
	who := h.held[claim{p.space, c}]
	return who, who != ""
}

func (h *fakeHost) claimed(p place, cids ...vsock.CID) ([]bool, error) {
	var answers []bool
	for _, c := range cids {
		_, held := h.held[claim{p.space, c}]
		answers = append(answers, held || c == h.ownCID)
	}
	return answers, h.step()
}

func (h *fakeHost) survey() ([]opener, []place, error) { return h.openers, h.places, h.step() }

func (h *fakeHost) hold(p place, c vsock.CID) (guard, error) {
	if err := errors.Join(h.step(), h.refuse); err != nil {
		return nil, err
	}
	h.tried++
	at := claim{p.space, c}
	if end, ends := h.until[at]; ends && !time.Now().Before(end) {
		delete(h.held, at)
	}
	if _, taken := h.held[at]; taken || c == h.ownCID {
		return nil, vsock.ErrInUse
	}
	h.held[at] = "a test"
	h.heldOnce++
	return &fakeGuard{h, at}, nil
}

// fakeGuard frees its CID at once.
type fakeGuard struct {
	host *fakeHost
	at   claim
}

func (g *fakeGuard) File() *os.File { return nil }

func (g *fakeGuard) Close() error {
	if g.host != nil {
		delete(g.host.held, g.at)
	}
	g.host = nil
	return nil
}

// world is an allocator on a real store and a fake kernel.
type world struct {
	*Allocator
	t     *testing.T
	host  *fakeHost
	store *store.Store
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s := store.New(t.TempDir())
	h := &fakeHost{place: place{space: store.Global, ref: "blue"}, ownCID: vsock.Any, held: map[claim]string{}}
	return &world{Allocator: &Allocator{store: s, host: h, now: time.Now}, t: t, host: h, store: s}
}

// acquire must succeed.
func (w *world) acquire(r Request) *Lease {
	w.t.Helper()
	l, err := w.Acquire(w.t.Context(), r)
	if err != nil {
		w.t.Fatalf("acquire %+v: %v", r, err)
	}
	return l
}

// leases returns the ledger of a space.
func (w *world) leases(s store.Space) []store.Lease {
	w.t.Helper()
	var leases []store.Lease
	err := w.store.View(w.t.Context(), func(tx *store.Tx) (err error) {
		leases, err = tx.Leases(s)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return leases
}

// put writes records.
func (w *world) put(records ...any) {
	w.t.Helper()
	err := w.store.Update(w.t.Context(), func(tx *store.Tx) error {
		var errs []error
		for _, r := range records {
			switch r := r.(type) {
			case store.Lease:
				errs = append(errs, tx.PutLease(r))
			case store.Machine:
				errs = append(errs, tx.PutMachine(r))
			}
		}
		return errors.Join(errs...)
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// errno is a refusal that says nothing about another number.
const errno = syscall.ENOMEM
