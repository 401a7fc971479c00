package configs

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// check holds the machines of a lab against each other and against what a
// machine can be, once every single value has been read.
func (r *labReader) check() {
	r.checkAlone()
	r.checkCIDs()
}

// checkAlone is check without what a scenario may want to see fail.
func (r *labReader) checkAlone() {
	for i := range r.lab.Machines {
		m := &r.lab.Machines[i]
		r.checkNetns(m)
		r.checkDepends(m)
		if m.Replica <= 1 { // the others say the same
			r.checkMachine(*m)
		}
	}
	r.checkCycles()
}

// at returns where a field of a machine is written, or else its name.
func (r *labReader) at(role, field string) *yaml.Node {
	if n := r.fields[role][field]; n != nil {
		return n
	}
	return r.where[role]
}

// checkNetns looks up the namespace that m names.
func (r *labReader) checkNetns(m *LabMachine) {
	ref := m.Netns
	if ref == "" || strings.ContainsAny(ref, "/:") {
		return // for Validate
	}
	if r.declared[ref] == nil {
		r.fail(r.at(m.Role, "netns"), "netns %q: not among the lab's namespaces%s", ref, r.meant(ref, slices.Sorted(maps.Keys(r.declared))))
	}
}

// checkMachine asks m for its own mistakes.
func (r *labReader) checkMachine(m LabMachine) {
	full := m.Machine
	full.Name = m.Service
	full.Default()
	err := full.Validate()
	if many, ok := errors.AsType[Errors](err); ok {
		for _, e := range many {
			r.fail(r.at(m.Role, e.Field), "%v", e)
		}
	}
}

// checkDepends looks up what m depends on.
func (r *labReader) checkDepends(m *LabMachine) {
	for _, role := range slices.Sorted(maps.Keys(m.DependsOn)) {
		at := r.at(m.Role, "depends_on")
		switch {
		case r.where[role] == nil:
			r.fail(at, "depends_on %q: no such machine%s", role, r.meant(role, r.machineNames()))
		case role == m.Role:
			r.fail(at, "depends_on %q: itself", role)
		case r.inactive[role]:
			r.fail(at, "depends_on %q: which is in none of the profiles asked for", role)
		}
	}
}

// checkCycles refuses machines that wait for each other.
func (r *labReader) checkCycles() {
	waits := map[string]map[string]string{}
	for _, m := range r.lab.Machines {
		waits[m.Role] = m.DependsOn
	}
	const open, done = 1, 2
	state := map[string]int{}
	var walk func(role string, path []string)
	walk = func(role string, path []string) {
		switch state[role] {
		case done:
			return
		case open:
			path = append(path[slices.Index(path, role):], role)
			if len(path) > 2 { // itself was told
				r.fail(r.at(role, "depends_on"), "depends_on: machines that wait for each other: %s", strings.Join(path, " → "))
			}
			return
		}
		state[role] = open
		for _, next := range slices.Sorted(maps.Keys(waits[role])) {
			walk(next, append(path, role))
		}
		state[role] = done
	}
	for _, m := range r.lab.Machines {
		walk(m.Role, nil)
	}
}

// checkCIDs refuses two machines of one CID where they could not both have it.
func (r *labReader) checkCIDs() {
	taken := map[string]LabMachine{}
	for _, m := range r.lab.Machines {
		if m.CID == 0 {
			continue
		}
		space := "global"
		for _, ns := range r.lab.Namespaces {
			if ns.Name == m.Netns && ns.Vsock == VsockLocal || ns.Name == m.Netns && ns.Adopt {
				space = "netns " + ns.Name
			}
		}
		if strings.ContainsAny(m.Netns, "/:") {
			space = m.Netns
		}
		key := fmt.Sprintf("%s %d", space, m.CID)
		if first, ok := taken[key]; ok {
			r.fail(r.at(m.Role, "cid"), "cid %d: machine %s has it already, in the same CID space", m.CID, first.Service)
			continue
		}
		taken[key] = m
	}
}

// Copy returns the lab under another name, that of one of its copies: its
// machines and the namespaces it makes are called NAME.PART on the host, and each
// machine is in the namespace of its copy. It fails if a name gets longer than
// a machine's can be.
func (l Lab) Copy(name string) (Lab, error) {
	if err := validLabName(name); err != nil {
		return Lab{}, fmt.Errorf("lab %q: %w", name, err)
	}
	c := Lab{Name: name, Namespaces: slices.Clone(l.Namespaces), Machines: slices.Clone(l.Machines)}
	netns := map[string]LabNamespace{}
	for i := range c.Namespaces {
		ns := &c.Namespaces[i]
		if !ns.Adopt {
			ns.Netns = name + "." + ns.Name
		}
		netns[ns.Name] = *ns
	}
	for i := range c.Machines {
		m := &c.Machines[i]
		m.Lab, m.Name = name, name+"."+m.Service
		if err := ValidName(m.Name); err != nil {
			return Lab{}, fmt.Errorf("machine %q: %w", m.Name, err)
		}
		if ns, ok := netns[m.Netns]; ok {
			m.Netns, m.Vsock = ns.Netns, ns.Vsock
		}
	}
	return c, nil
}
