package lab

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/launcher"
	"github.com/vmlaunch/vmlaunch/store"
)

// An Action is what is to be done with a part of a lab.
type Action string

// The actions.
const (
	Create  Action = "create"
	Start   Action = "start"   // it is down
	Replace Action = "replace" // it differs: removed, and made anew
	Await   Action = "await"   // it runs, and is not ready yet
	Keep    Action = "keep"    // it is as it should be
	Remove  Action = "remove"  // the file has it no more
	Refuse  Action = "refuse"  // the name is somebody else's
)

// A Change is what is to be done with one part of a lab, and why.
type Change struct {
	Lab     string `json:"lab"`
	Kind    string `json:"kind"` // namespace or machine
	Name    string `json:"name"` // on the host
	Action  Action `json:"action"`
	Why     string `json:"why"`
	machine configs.LabMachine
	netns   configs.LabNamespace
}

// A RefusedError is all that stands in the way of a lab; errors.Is(err,
// fs.ErrExist) holds.
type RefusedError []Change

func (e RefusedError) Error() string {
	lines := make([]string, len(e))
	for i, c := range e {
		lines[i] = fmt.Sprintf("%s %q of lab %s: %s", c.Kind, c.Name, c.Lab, c.Why)
	}
	return strings.Join(lines, "\n")
}

// Is makes every RefusedError an [fs.ErrExist].
func (e RefusedError) Is(target error) bool { return target == fs.ErrExist }

// refused returns a [RefusedError] of the changes that are refused, or nil.
func refused(changes []Change) error {
	var e RefusedError
	for _, c := range changes {
		if c.Action == Refuse {
			e = append(e, c)
		}
	}
	if e == nil {
		return nil
	}
	return e
}

// The kinds, as values of Change.Kind.
const (
	kindNetns   = "namespace"
	kindMachine = "machine"
)

// IsMachine reports whether c is about a machine.
func (c Change) IsMachine() bool { return c.Kind == kindMachine }

// Now is what there is on the host before a change.
type Now struct {
	Machines []launcher.View
	Netnses  []store.Netns   // those that vmlaunch made
	Names    map[string]bool // namespaces that have a name, whoever made them
}

// Plan returns what brings l up, namespaces first, then machines in the order of
// a start. It is a pure function.
func Plan(l configs.Lab, now Now) []Change {
	var changes []Change
	wanted := map[string]bool{}
	for _, ns := range l.Namespaces {
		if ns.Adopt {
			continue
		}
		wanted[ns.Netns] = true
		changes = append(changes, planNetns(l.Name, ns, now))
	}
	for _, wave := range l.Waves() {
		for _, m := range wave {
			wanted[m.Name] = true
			changes = append(changes, planMachine(m, now))
		}
	}
	for _, v := range now.Machines {
		if v.Spec.Lab == l.Name && !wanted[v.Name] {
			changes = append(changes, Change{Lab: l.Name, Kind: kindMachine, Name: v.Name, Action: Remove, Why: "the file has it no more"})
		}
	}
	for _, n := range now.Netnses {
		if n.Lab == l.Name && !wanted[n.Name] {
			changes = append(changes, Change{Lab: l.Name, Kind: kindNetns, Name: n.Name, Action: Remove, Why: "the file has it no more"})
		}
	}
	return changes
}

func planNetns(lab string, ns configs.LabNamespace, now Now) Change {
	c := Change{Lab: lab, Kind: kindNetns, Name: ns.Netns, netns: ns}
	i := slices.IndexFunc(now.Netnses, func(n store.Netns) bool { return n.Name == ns.Netns && !n.Pending })
	switch {
	case !now.Names[ns.Netns]:
		c.Action, c.Why = Create, "there is none"
	case i < 0 || now.Netnses[i].Lab != lab:
		c.Action, c.Why = Refuse, "there is one that was not made for this lab (adopt it, or vmlaunch netns rm "+ns.Netns+")"
	case now.Netnses[i].Mode.String() != ns.Vsock:
		c.Action, c.Why = Refuse, fmt.Sprintf("its vsock mode is %v, want %s (vmlaunch down first)", now.Netnses[i].Mode, ns.Vsock)
	default:
		c.Action, c.Why = Keep, "it is there"
	}
	return c
}

func planMachine(m configs.LabMachine, now Now) Change {
	c := Change{Lab: m.Lab, Kind: kindMachine, Name: m.Name, machine: m}
	i := slices.IndexFunc(now.Machines, func(v launcher.View) bool { return v.Name == m.Name })
	if i < 0 {
		c.Action, c.Why = Create, "there is none"
		return c
	}
	v := now.Machines[i]
	if v.Spec.Lab != m.Lab {
		c.Action, c.Why = Refuse, "there is one that is not of this lab (vmlaunch down "+m.Name+")"
		return c
	}
	if d := differences(v.Spec, m.Machine); len(d) > 0 {
		c.Action, c.Why = Replace, fmt.Sprintf("it differs: %s", strings.Join(d, ", "))
		return c
	}
	switch v.State {
	case launcher.Running, launcher.Paused, launcher.Starting, launcher.Unresponsive:
		c.Action, c.Why = Keep, "it is ready"
		if !v.Ready {
			c.Action, c.Why = Await, fmt.Sprintf("it is %s, and not ready", v.State)
		}
	default:
		c.Action, c.Why = Start, fmt.Sprintf("it is %s", v.State)
		if v.Cause != "" {
			c.Why += ": " + v.Cause
		}
	}
	return c
}

// differences names the fields in which a machine that was made by one blueprint
// differs from another one, with what was chosen where nothing was said.
func differences(have, want configs.Machine) []string {
	have.Default()
	want.Default()
	have.ReadyTimeout = want.ReadyTimeout // no part of what it is
	a, b := asJSON(have), asJSON(want)
	var d []string
	for _, key := range slices.Sorted(maps.Keys(merged(a, b))) {
		if x, y := text(a[key]), text(b[key]); x != y {
			d = append(d, fmt.Sprintf("%s (%s, want %s)", key, x, y))
		}
	}
	return d
}

// asJSON returns the fields of a blueprint by their names in files.
func asJSON(m configs.Machine) map[string]json.RawMessage {
	b, err := json.Marshal(m)
	all := map[string]json.RawMessage{}
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if err != nil {
		panic(err) //nolint:forbidigo // plain values only: it can't
	}
	return all
}

func merged(a, b map[string]json.RawMessage) map[string]json.RawMessage {
	both := maps.Clone(a)
	maps.Copy(both, b)
	return both
}

func text(v json.RawMessage) string {
	if v == nil {
		return "none"
	}
	return string(v)
}
