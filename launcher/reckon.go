package launcher

import (
	"fmt"
	"maps"
	"slices"

	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// seen is all that a repair goes by.
type seen struct {
	boot    string
	said    store.Salvage       // what the state file says, as far as it can be read
	cards   []store.Machine     // of run folders, then of state folders
	netnses []store.Netns       // cards of namespaces
	qemus   map[string]qemu     // QEMUs that run, by UUID
	names   map[string]netns.ID // which namespace has a name
	held    map[claimed]bool    // the kernel's answer, where it was asked
	busy    map[string]bool     // "machine NAME" and "netns NAME" that a verb is at work on
}

// damaged reports whether the state file has to be made anew.
func (s seen) damaged() bool { return len(s.said.Damage) > 0 }

// A qemu is one that runs, and where.
type qemu struct {
	id    proc.ID
	netns store.NetnsRef // Created says nothing
}

// claimed is a CID in a space.
type claimed struct {
	space store.Space
	cid   vsock.CID
}

// A change is one thing that a repair does to the state file.
type change struct {
	Repair
	adopt  *store.Machine // to be recorded
	lease  bool           // and its CID be its own
	netns  *store.Netns   // to be recorded
	gone   *store.Netns   // to be forgotten
	forget *store.Lease
}

// reckon says what the state file lacks, and what in it is not true any more. It
// is a pure function. What the file says of machines that it knows is for
// [Launcher.Reconcile] to hold against them.
func reckon(s seen) []change {
	return slices.Concat(s.machines(), s.namespaces(), s.strangers())
}

// machines adopts machines: those that run first, so that they have their CIDs.
func (s seen) machines() []change {
	recorded := map[string]store.Machine{}
	for _, m := range s.said.Machines {
		recorded[m.Name] = m
	}
	cards := map[string][]store.Machine{}
	for _, m := range s.cards {
		cards[m.Name] = append(cards[m.Name], m)
	}
	owners := s.owners()
	var running, down []change
	for _, name := range slices.Sorted(maps.Keys(cards)) {
		have, known := recorded[name]
		if s.busy["machine "+name] {
			continue
		}
		all := cards[name]
		if known {
			all = append([]store.Machine{have}, all...)
		}
		i := slices.IndexFunc(all, func(c store.Machine) bool { _, lives := s.qemus[c.UUID]; return lives })
		switch {
		case i >= 0 && known && all[i].UUID == have.UUID && !phaseDown(have.Phase):
		case i >= 0:
			running = append(running, s.adoptRunning(all[i], known, owners))
			delete(recorded, name)
		case !known:
			down = append(down, s.adoptDown(all[len(all)-1]))
		}
	}
	return slices.Concat(running, s.leases(recorded, owners), s.settled(down, owners))
}

// owners returns which machine has which CID, by the leases that fit a record.
func (s seen) owners() map[claimed]string {
	has := map[string]claimed{}
	for _, m := range s.said.Machines {
		has[m.Name] = claimed{m.Space, m.CID}
	}
	owners := map[claimed]string{}
	for _, l := range s.said.Leases {
		if at := (claimed{l.Space, l.CID}); l.Machine != "" && has[l.Machine] == at {
			owners[at] = l.Machine
		}
	}
	return owners
}

// leases gives machines that are recorded with a CID the lease of it, if the file
// has lost that.
func (s seen) leases(recorded map[string]store.Machine, owners map[claimed]string) []change {
	var all []change
	for _, name := range slices.Sorted(maps.Keys(recorded)) {
		m := recorded[name]
		at := claimed{m.Space, m.CID}
		if m.CID == 0 || owners[at] != "" || s.busy["machine "+name] || s.dead(m.Space) {
			continue
		}
		owners[at] = name
		what := fmt.Sprintf("lease cid %d in space %s to it", m.CID, m.Space)
		all = append(all, change{Repair: Repair{name, what, "its record has it, and there is no lease"}, adopt: &m, lease: true})
	}
	return all
}

// settled gives adopted machines that are down their CIDs, as far as nobody else
// has them.
func (s seen) settled(down []change, owners map[claimed]string) []change {
	for i, c := range down {
		at := claimed{c.adopt.Space, c.adopt.CID}
		switch owner := owners[at]; {
		case at.cid == 0 || s.dead(at.space):
		case owner != "":
			down[i].Why += fmt.Sprintf("; its cid %d is machine %q's by now", at.cid, owner)
		default:
			owners[at], down[i].lease = c.adopt.Name, true
		}
	}
	return down
}

// phaseDown reports whether a record in this phase says that no QEMU runs.
func phaseDown(p store.Phase) bool {
	return p == store.Created || p == store.Stopped || p == store.Failed
}

// adoptRunning records the machine whose card is c and whose QEMU runs. Where it
// lives is said by the kernel.
func (s seen) adoptRunning(c store.Machine, known bool, owners map[claimed]string) change {
	q := s.qemus[c.UUID]
	m := c
	m.Phase, m.Cause, m.Boot = store.Running, "", s.boot
	m.QEMU, m.Launcher = q.id, proc.ID{}
	if q.netns.ID != c.Netns.ID {
		m.Netns = q.netns
	}
	m.Netns.Mode = q.netns.Mode // a reload of vsock.ko changes it
	m.Space = store.SpaceOf(m.Netns.ID, m.Netns.Mode)
	why := fmt.Sprintf("it runs as %v with cid %d in %s, and there is no record of it", q.id, m.CID, netnsTitle(m.Netns.Ref))
	if known {
		why = fmt.Sprintf("it runs as %v with cid %d in %s, and its record is of another time", q.id, m.CID, netnsTitle(m.Netns.Ref))
	}
	at := claimed{m.Space, m.CID}
	if held, asked := s.held[at]; asked && !held {
		why += "; the kernel says that nobody has its cid"
	}
	if owner := owners[at]; owner != "" && owner != m.Name {
		why += fmt.Sprintf("; machine %q loses the cid", owner)
	}
	owners[at] = m.Name
	return change{Repair: Repair{m.Name, "adopt", why}, adopt: &m, lease: m.CID != 0}
}

// adoptDown records the machine whose card is c, which does not run.
func (s seen) adoptDown(c store.Machine) change {
	m := c
	m.Phase, m.Cause = store.Stopped, ""
	m.QEMU, m.Launcher, m.NotifyPort = proc.ID{}, proc.ID{}, 0
	return change{Repair: Repair{m.Name, "adopt as stopped", "its files are there, and no record of it"}, adopt: &m}
}

// dead reports whether a space has gone with its namespace, as far as names tell.
func (s seen) dead(space store.Space) bool {
	id := space.ID()
	if id.IsZero() {
		return false
	}
	for _, named := range s.names {
		if named == id {
			return false
		}
	}
	for _, q := range s.qemus {
		if q.netns.ID == id {
			return false
		}
	}
	return true
}

// namespaces adopts those that we made, and forgets those that are gone. What is
// pending is for [Launcher.Reconcile] to finish.
func (s seen) namespaces() []change {
	recorded := map[string]store.Netns{}
	for _, n := range s.said.Netnses {
		recorded[n.Name] = n
	}
	var all []change
	known := map[string]bool{}
	for _, n := range s.netnses {
		if s.busy["netns "+n.Name] || n.ID != s.names[n.Name] || recorded[n.Name].ID == n.ID {
			continue
		}
		known[n.Name] = true
		adopted := n
		adopted.Pending = false
		all = append(all, change{Repair: Repair{What: fmt.Sprintf("adopt netns %q", n.Name), Why: "it is there, and no record of it"}, netns: &adopted})
	}
	for _, n := range s.said.Netnses {
		if s.busy["netns "+n.Name] || known[n.Name] || n.Pending || n.ID == s.names[n.Name] || n.ID.Boot != s.boot {
			continue
		}
		all = append(all, change{Repair: Repair{What: fmt.Sprintf("forget netns %q", n.Name), Why: "it is gone, or another one has its name"}, gone: &n})
	}
	return all
}

// strangers forgets those of whom the kernel says that they have let go.
func (s seen) strangers() []change {
	var all []change
	for _, l := range s.said.Leases {
		held, asked := s.held[claimed{l.Space, l.CID}]
		if l.Foreign == "" || !asked || held {
			continue
		}
		what := fmt.Sprintf("forget that foreign %s has cid %d in space %s", l.Foreign, l.CID, l.Space)
		all = append(all, change{Repair: Repair{What: what, Why: "the kernel says that nobody has it"}, forget: &l})
	}
	return all
}
