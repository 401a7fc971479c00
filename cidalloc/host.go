package cidalloc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// A place is where a CID is to be claimed.
type place struct {
	space store.Space
	ref   string // for errors
	ns    *netns.NS
}

// close closes the namespace of a place that was only looked at.
func (p place) close() {
	if p.ns != nil { // tests have places without
		_ = p.ns.Close()
	}
}

// A guard is a CID held in the kernel, as [vsock.Guard] is.
type guard interface {
	File() *os.File
	Close() error
}

// A host is the kernel's side of an allocation. Tests have one without a kernel.
type host interface {
	look(*netns.NS) (place, error)
	hold(place, vsock.CID) (guard, error) // vsock.ErrInUse if it is taken
	own() (vsock.CID, error)              // vsock.Any if this host is no guest

	// claimed asks which of the CIDs somebody has in the kernel, and claims none.
	claimed(place, ...vsock.CID) ([]bool, error)

	// who names the process that has a CID. If it is not found, the words say who
	// may have it; they are empty if nobody is in sight.
	who(place, vsock.CID) (words string, found bool)

	// survey lists all openers, and a place in every space that has one or has a
	// name. The caller closes their namespaces.
	survey() ([]opener, []place, error)
}

// linux is the real host.
type linux struct{}

// look reads the mode anew: a reload of vsock.ko makes every namespace global,
// whatever was recorded.
func (linux) look(ns *netns.NS) (place, error) {
	m, err := ns.Mode()
	if err != nil {
		return place{}, err
	}
	return place{space: store.SpaceOf(ns.ID(), m), ref: ns.Ref(), ns: ns}, nil
}

// hold claims c in p's namespace. The descriptor belongs to the namespace of the
// thread that opens it, hence Do.
func (linux) hold(p place, c vsock.CID) (guard, error) {
	var g *vsock.Guard
	err := p.ns.Do(func() (err error) {
		g, err = vsock.Hold(c)
		return err
	})
	if err == nil {
		return g, nil
	}
	if g != nil { // held, but the thread could not come home
		err = errors.Join(err, g.Close())
	}
	return nil, err
}

// own returns this host's CID. Without a way to ask, it answers that there is
// none: the kernel refuses it all the same.
func (linux) own() (vsock.CID, error) {
	c, err := vsock.OwnCID()
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, errors.ErrUnsupported), errors.Is(err, fs.ErrPermission):
		return vsock.Any, nil
	}
	return 0, fmt.Errorf("ask for this host's own cid: %w", err)
}

func (linux) claimed(p place, cids ...vsock.CID) ([]bool, error) {
	answers := make([]bool, len(cids))
	err := p.ns.Do(func() (err error) {
		for i, c := range cids {
			if answers[i], err = vsock.Claimed(c); err != nil {
				return err
			}
		}
		return nil
	})
	return answers, err
}

func (linux) who(p place, c vsock.CID) (words string, found bool) {
	return holder(openersOf(), p.space, c)
}

func (linux) survey() ([]opener, []place, error) {
	names, err := netns.List()
	if err != nil {
		return nil, nil, err
	}
	openers := openersOf()
	refs := append([]string{""}, names...)
	for _, o := range openers {
		refs = append(refs, fmt.Sprintf("pid:%d", o.pid))
	}
	var places []place
	for _, ref := range refs {
		p, err := placeOf(ref)
		if err != nil {
			continue // gone since, or not ours to enter
		}
		if slices.ContainsFunc(places, func(q place) bool { return q.space == p.space }) {
			p.close()
			continue
		}
		places = append(places, p)
	}
	return openers, places, nil
}
