package launcher

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// A survey is a look at everything that a repair goes by. Its namespaces are
// open until close.
type survey struct {
	seen
	places map[store.Space]*netns.NS // one namespace of each space that was found
	open   []*netns.NS
}

func (s *survey) close() {
	for _, ns := range s.open {
		ns.Close()
	}
}

// survey looks at the state file, at the cards, and asks the kernel about the
// processes, the namespaces and the CIDs. What is not there any more when it is
// looked at is left out. The caller closes it. It fails as store.Store.Salvage
// does, and if the kernel can't be asked.
func (l *Launcher) survey(ctx context.Context) (s *survey, err error) {
	s = &survey{places: map[store.Space]*netns.NS{}}
	s.qemus, s.names = map[string]qemu{}, map[string]netns.ID{}
	s.held, s.busy = map[claimed]bool{}, map[string]bool{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.boot, err = netns.BootID(); err != nil {
		return s, err
	}
	if s.said, err = l.Store.Salvage(ctx); err != nil {
		return s, err
	}
	if err := l.surveyCards(s); err != nil {
		l.Log.Warn("cards are damaged", "err", err) // as good as not there
	}
	if err := s.findNamespaces(); err != nil {
		return s, err
	}
	if err := s.findQEMUs(); err != nil {
		return s, err
	}
	return s, s.askKernel(l.cids)
}

// surveyCards reads the cards, and looks whether verbs are at work on what they
// are about.
func (l *Launcher) surveyCards(s *survey) error {
	var errs []error
	for _, dir := range []string{l.folder("*").run, l.folder("*").state} {
		paths, err := filepath.Glob(filepath.Join(dir, cardName))
		cards, rerr := readCards[store.Machine](paths)
		s.cards = append(s.cards, cards...)
		errs = append(errs, err, rerr)
	}
	paths, err := filepath.Glob(l.netnsCard("*"))
	cards, rerr := readCards[store.Netns](paths)
	s.netnses = cards
	for _, m := range s.cards {
		s.busy["machine "+m.Name] = l.atWork(m.Name)
	}
	for _, n := range append(cards, s.said.Netnses...) {
		s.busy["netns "+n.Name] = locked(l.lockPath("netns", n.Name))
	}
	return errors.Join(append(errs, err, rerr)...)
}

// findNamespaces opens the host's own namespace and all that have a name.
func (s *survey) findNamespaces() error {
	names, err := netns.List()
	if err != nil {
		return err
	}
	for _, name := range append([]string{""}, names...) {
		ns, mode, err := s.enter(name)
		if err != nil {
			continue // gone since
		}
		s.names[name] = ns.ID()
		if space := store.SpaceOf(ns.ID(), mode); s.places[space] == nil {
			s.places[space] = ns
		}
	}
	return nil
}

// enter opens a namespace, which stays open until close.
func (s *survey) enter(ref string) (*netns.NS, vsock.Mode, error) {
	ns, err := netns.Open(ref)
	if err != nil {
		return nil, 0, err
	}
	s.open = append(s.open, ns)
	mode, err := ns.Mode()
	return ns, mode, err
}

// findQEMUs finds the processes whose UUIDs stand on cards or in the state file,
// and the namespaces that they are in.
func (s *survey) findQEMUs() error {
	wanted := map[string]bool{}
	for _, m := range append(s.cards, s.said.Machines...) {
		wanted[m.UUID] = m.UUID != ""
	}
	running, err := byUUID()
	if err != nil {
		return err
	}
	for uuid, ids := range running {
		if !wanted[uuid] {
			continue
		}
		id := ids[0]
		ns, mode, err := s.enter(fmt.Sprintf("pid:%d", id.PID))
		if !id.Alive() {
			continue
		}
		if err != nil {
			return fmt.Errorf("find the namespace of %v: %w", id, err)
		}
		s.qemus[uuid] = qemu{id: id, netns: store.NetnsRef{Ref: ns.Ref(), ID: ns.ID(), Mode: mode}}
		if space := store.SpaceOf(ns.ID(), mode); s.places[space] == nil {
			s.places[space] = ns
		}
	}
	return nil
}

// askKernel asks whether the CIDs of machines that run, and those of strangers,
// are claimed. Without a device to ask there is no answer.
func (s *survey) askKernel(k cids) error {
	if k.check() != nil {
		return nil
	}
	ask := func(at claimed) error {
		ns := s.places[at.space]
		if ns == nil || !at.cid.Guest() {
			return nil
		}
		free, err := k.free(ns, at.cid)
		s.held[at] = !free
		return err
	}
	for _, m := range s.cards {
		q, lives := s.qemus[m.UUID]
		if !lives {
			continue
		}
		if err := ask(claimed{store.SpaceOf(q.netns.ID, q.netns.Mode), m.CID}); err != nil {
			return err
		}
	}
	for _, lease := range s.said.Leases {
		if lease.Foreign == "" {
			continue
		}
		if err := ask(claimed{lease.Space, lease.CID}); err != nil {
			return err
		}
	}
	return nil
}

// proven asks that the process of an adopted machine still runs: a repair that
// takes its time must not record what has ended meanwhile.
func (c change) proven() bool {
	return c.adopt == nil || c.adopt.QEMU == proc.ID{} || c.adopt.QEMU.Alive()
}
