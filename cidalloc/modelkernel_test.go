package cidalloc

import (
	"fmt"
	"os"

	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// A modelKernel does what facts 12 and 14 of KERNEL.md say, by namespace and mode:
// it knows of no spaces.
type modelKernel struct {
	boot   int
	next   uint64            // cookie, never given twice within a boot
	named  map[string]region // namespaces by name; "" is the host's own
	at     string            // where the next call comes from
	claims []*modelClaim
	ownCID vsock.CID
}

// A region is a namespace as the kernel sees it.
type region struct {
	cookie uint64
	mode   vsock.Mode
}

// A modelClaim is a held CID. It is its own guard.
type modelClaim struct {
	kernel *modelKernel
	in     region
	cid    vsock.CID
	by     string // a stranger, or empty
}

func newModelKernel() *modelKernel {
	k := &modelKernel{ownCID: 5}
	k.reboot()
	return k
}

func (k *modelKernel) reboot() {
	k.boot++
	k.next, k.claims = 1, nil
	k.named = map[string]region{"": {1, vsock.Global}}
}

func (k *modelKernel) create(name string, m vsock.Mode) {
	k.next++
	k.named[name] = region{k.next, m}
}

func (k *modelKernel) id(w region) netns.ID {
	return netns.ID{Boot: fmt.Sprintf("boot%d", k.boot), Cookie: w.cookie}
}

// clash is fact 12.
func (w region) clash(v region) bool {
	return w.cookie == v.cookie || w.mode == vsock.Global && v.mode == vsock.Global
}

func (k *modelKernel) find(w region, c vsock.CID) *modelClaim {
	for _, have := range k.claims {
		if have.cid == c && have.in.clash(w) {
			return have
		}
	}
	return nil
}

func (k *modelKernel) claim(w region, c vsock.CID, by string) *modelClaim {
	if c == k.ownCID || k.find(w, c) != nil {
		return nil
	}
	held := &modelClaim{k, w, c, by}
	k.claims = append(k.claims, held)
	return held
}

func (c *modelClaim) File() *os.File { return nil }

func (c *modelClaim) Close() error {
	for i, have := range c.kernel.claims {
		if have == c {
			c.kernel.claims = append(c.kernel.claims[:i], c.kernel.claims[i+1:]...)
			break
		}
	}
	return nil
}

func (k *modelKernel) look(*netns.NS) (place, error) {
	w := k.named[k.at]
	return place{space: store.SpaceOf(k.id(w), w.mode), ref: k.at}, nil
}

func (k *modelKernel) hold(_ place, c vsock.CID) (guard, error) {
	if g := k.claim(k.named[k.at], c, ""); g != nil {
		return g, nil
	}
	return nil, vsock.ErrInUse
}

func (k *modelKernel) own() (vsock.CID, error) { return k.ownCID, nil }

func (k *modelKernel) claimed(_ place, cids ...vsock.CID) (answers []bool, _ error) {
	for _, c := range cids {
		answers = append(answers, c == k.ownCID || k.find(k.named[k.at], c) != nil)
	}
	return answers, nil
}

// who finds all strangers, so that nobody waits for one to go.
func (k *modelKernel) who(_ place, c vsock.CID) (string, bool) {
	return k.find(k.named[k.at], c).by, true
}

func (k *modelKernel) survey() ([]opener, []place, error) { return nil, nil, nil }
