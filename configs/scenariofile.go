package configs

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
	"golang.org/x/sys/unix"
)

// PlaceHost is the host's own namespace, as a place in a scenario.
const PlaceHost = "host"

// ReadScenario reads a scenario file. It fails with [FileErrors], all mistakes at
// once.
func ReadScenario(f LabFile, o LabOptions) (Scenario, error) {
	r := &scenarioReader{labReader: newLabReader([]LabFile{f}, o), opened: map[string]string{}}
	top := r.load(f.Name, f.Text)
	if len(r.errs) == 0 {
		r.interpolate(top, r.options.Getenv)
		r.readScenario(top, f)
	}
	if len(r.errs) > 0 {
		r.sort([]LabFile{f})
		return Scenario{}, r.errs
	}
	r.s.Lab = r.lab
	r.s.Lab.Name = r.s.Name
	return r.s, nil
}

type scenarioReader struct {
	*labReader
	s      Scenario
	opened map[string]string // what as names, and by which verb
	named  []string          // steps that have a name
}

func (r *scenarioReader) readScenario(top *yaml.Node, f LabFile) {
	if isNull(top) {
		r.errs = append(r.errs, &FileError{f.Name, 1, 1, "declares no steps"})
		return
	}
	var steps, lab, containers *yaml.Node
	r.mapping(top, "a scenario", func(key, v *yaml.Node) {
		if strings.HasPrefix(key.Value, "x-") || !r.known(key, "scenario", "about", "needs", "containers", "lab", "steps") {
			return
		}
		switch key.Value {
		case "scenario":
			if r.text(key, v, &r.s.Name) && validLabName(r.s.Name) != nil {
				r.fail(v, "scenario %q: %v", r.s.Name, validLabName(r.s.Name))
			}
		case "about":
			r.text(key, v, &r.s.About)
		case "needs":
			if r.text(key, v, &r.s.Needs) && r.s.Needs != NeedsOwnCID {
				r.fail(v, "needs %q: want %s", r.s.Needs, NeedsOwnCID)
			}
		case "containers":
			containers = v
		case "lab":
			lab = v
		case "steps":
			steps = v
		}
	})
	if r.s.Name == "" && len(r.errs) == 0 {
		r.fail(top, "scenario: want its name")
	}
	r.readLab(lab)
	r.mapping(containers, "containers", r.container)
	if len(r.errs) > 0 {
		return // steps are about what the lab has
	}
	r.s.Steps = r.steps(steps, "steps")
	if len(r.s.Steps) == 0 && len(r.errs) == 0 {
		r.fail(top, "declares no steps")
	}
}

// readLab reads the lab, which may also be one without machines.
func (r *scenarioReader) readLab(lab *yaml.Node) {
	if isNull(lab) {
		return
	}
	r.mapping(lab, "lab", func(key, v *yaml.Node) {
		if !r.known(key, "namespaces", "defaults", "machines") {
			return
		}
		switch key.Value {
		case "namespaces":
			r.mapping(v, "namespaces", r.namespace)
		case "defaults":
			r.defaults = v
			r.mapping(v, "defaults", func(key, _ *yaml.Node) { r.known(key, machineKeyNames()...) })
		case "machines":
			r.machines = v
		}
	})
	r.mapping(r.machines, "machines", r.machine)
	if len(r.errs) == 0 {
		r.checkAlone()
	}
}

// container reads one container: its name, and the mode of its namespace.
func (r *scenarioReader) container(key, v *yaml.Node) {
	c := ScenarioContainer{Name: key.Value}
	switch names := r.places(true); {
	case validLabName(c.Name) != nil:
		r.fail(key, "container %q: %v", c.Name, validLabName(c.Name))
	case slices.Contains(names, c.Name):
		r.fail(key, "container %q: something else has that name", c.Name)
	}
	if r.text(key, v, &c.Vsock) && c.Vsock != VsockGlobal && c.Vsock != VsockLocal {
		r.fail(v, "container %s: %q: want global or local", c.Name, c.Vsock)
	}
	r.s.Containers = append(r.s.Containers, c)
	r.opened[c.Name] = containerOpens
}

// containerOpens stands for the verb that would have started a container.
const containerOpens = "containers"

// steps reads a list of steps.
func (r *scenarioReader) steps(n *yaml.Node, what string) []Step {
	if isNull(n) {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		r.fail(n, "%s: want a list", what)
		return nil
	}
	var all []Step
	for _, item := range n.Content {
		all = append(all, r.step(item))
	}
	return all
}

// step reads one step: a mapping of one verb, and of what goes with every verb.
func (r *scenarioReader) step(n *yaml.Node) Step {
	s := Step{Line: n.Line}
	if n.Kind != yaml.MappingNode {
		r.fail(n, "a step: want a verb with what it takes")
		return s
	}
	names := []string{"title", "expect", "name"}
	for _, v := range StepVerbs() {
		names = append(names, v.Name)
	}
	var expect *yaml.Node
	var name string
	before := len(r.errs)
	r.mapping(n, "a step", func(key, v *yaml.Node) {
		if !r.known(key, names...) {
			return
		}
		switch key.Value {
		case "title":
			r.text(key, v, &s.Title)
		case "name":
			if r.text(key, v, &name) {
				r.named = append(r.named, name)
				s.As = name
			}
		case "expect":
			expect = v
		default:
			if s.Verb != "" {
				r.fail(key, "a second verb, %s: want one in each step (it has %s)", key.Value, s.Verb)
				return
			}
			s.Verb = key.Value
			r.verb(key, v, &s)
		}
	})
	if s.Verb == "" {
		if len(r.errs) == before { // else it is one that is none
			r.fail(n, "a step without a verb")
		}
		return s
	}
	r.expect(expect, &s)
	return s
}

// verb reads what a verb takes: a mapping, or the one thing in short.
func (r *scenarioReader) verb(key, v *yaml.Node, s *Step) {
	i := slices.IndexFunc(StepVerbs(), func(v StepVerb) bool { return v.Name == s.Verb })
	of := StepVerbs()[i]
	switch {
	case s.Verb == StepTogether:
		s.Together = r.steps(v, "together")
		return
	case s.Verb == StepOrder:
		r.texts(key, v, &s.Steps)
		for _, name := range s.Steps {
			if !slices.Contains(r.named, name) {
				r.fail(v, "order: no step before it has the name %q%s", name, r.meant(name, r.named))
			}
		}
		return
	case v.Kind != yaml.MappingNode:
		r.field(of.Fields[0], key, v, s)
	default:
		r.mapping(v, s.Verb, func(key, v *yaml.Node) {
			if r.known(key, of.Fields...) {
				r.field(key.Value, key, v, s)
			}
		})
	}
	r.complete(key, s)
}

// field reads one thing that a verb takes.
func (r *scenarioReader) field(name string, key, v *yaml.Node, s *Step) {
	switch name {
	case "machines":
		r.texts(key, v, &s.Machines)
		if len(s.Machines) == 1 && s.Machines[0] == "all" {
			s.Machines = roleNames(r.lab)
		}
		for _, m := range s.Machines {
			r.isMachine(v, key.Value, m)
		}
	case "from":
		r.text(key, v, &s.From)
		r.isPlace(v, key.Value, s.From, true)
	case "to":
		r.text(key, v, &s.To)
		r.answers(v, key.Value, s.To)
	case "in":
		r.text(key, v, &s.In)
		r.isPlace(v, key.Value, s.In, false)
	case "cid":
		n, _ := r.number(key, v, 0, 1<<32-1)
		s.CID = uint32(n)
	case "port":
		n, _ := r.number(key, v, 0, 1<<32-2)
		s.Port = uint32(n)
	case "text":
		r.text(key, v, &s.Text)
	case "as":
		r.text(key, v, &s.As)
		r.opened[s.As] = s.Verb
	case "on":
		r.text(key, v, &s.On)
		switch {
		case s.Verb == StepExec:
			r.isMachine(v, key.Value, s.On)
		case r.opened[s.On] == "":
			r.fail(v, "on %q: no step before it opens that (as: %s)", s.On, s.On)
		case s.Verb == StepSay && r.opened[s.On] != StepDial:
			r.fail(v, "on %q: is no connection", s.On)
		}
	case "mode":
		r.text(key, v, &s.Mode)
	case "command":
		if v.Kind == yaml.ScalarNode {
			s.Command = strings.Fields(v.Value)
		} else {
			r.texts(key, v, &s.Command)
		}
	case "connections":
		n, _ := r.number(key, v, 1, 10_000)
		s.Connections = int(n)
	case "bytes":
		n, _ := r.number(key, v, 1, 1<<40)
		s.Bytes = int(n)
	}
}

// complete refuses a verb that lacks what it can't do without.
func (r *scenarioReader) complete(key *yaml.Node, s *Step) {
	lacks := ""
	switch s.Verb {
	case StepDial:
		switch {
		case s.From == "":
			lacks = "from"
		case s.To == "" && s.CID == 0:
			lacks = "to or cid"
		case s.As != "" && slices.Contains(roleNames(r.lab), s.From):
			r.fail(key, "dial: a connection from a machine can't be kept (as)")
		}
	case StepSay, StepClose:
		if s.On == "" {
			lacks = "on"
		}
	case StepListen, StepClaim:
		if s.As == "" {
			lacks = "as"
		}
	case StepChildMode, StepUnpin:
		switch {
		case r.opened[s.In] == containerOpens:
			r.fail(key, "%s: %s is a container: only a namespace of the lab", s.Verb, s.In)
		case s.In == PlaceHost:
			r.fail(key, "%s: host: only a namespace of the lab (it can't be taken back)", s.Verb)
		case s.Verb == StepChildMode && s.Mode == "":
			lacks = "mode"
		}
	case StepLoad:
		if s.From == "" || s.To == "" {
			lacks = "from and to"
		}
	case StepExec:
		if s.On == "" || len(s.Command) == 0 {
			lacks = "on and command"
		}
	case StepUp, StepStart, StepStop, StepKill, StepRemove, StepWait:
		if len(s.Machines) == 0 {
			lacks = "machines"
		}
	}
	if lacks != "" {
		r.fail(key, "%s: lacks %s", s.Verb, lacks)
	}
}

// roleNames returns the names of all machines of l.
func roleNames(l Lab) []string {
	var names []string
	for _, m := range l.Machines {
		names = append(names, m.Service)
	}
	return names
}

// answers refuses what is neither a machine nor a listener.
func (r *scenarioReader) answers(n *yaml.Node, key, name string) {
	if r.opened[name] == StepListen {
		return
	}
	r.isMachine(n, key, name)
}

func (r *scenarioReader) isMachine(n *yaml.Node, key, name string) {
	if names := roleNames(r.lab); !slices.Contains(names, name) {
		r.fail(n, "%s %q: the lab has no such machine%s", key, name, r.meant(name, names))
	}
}

// isPlace refuses what is neither the host, a namespace of the lab or a container,
// nor, with machines, one of those.
func (r *scenarioReader) isPlace(n *yaml.Node, key, name string, machines bool) {
	if names := r.places(machines); !slices.Contains(names, name) {
		r.fail(n, "%s %q: no such place%s", key, name, r.meant(name, names))
	}
}

// places returns the names of all places.
func (r *scenarioReader) places(machines bool) []string {
	names := []string{PlaceHost}
	for _, c := range r.s.Containers {
		names = append(names, c.Name)
	}
	for _, ns := range r.lab.Namespaces {
		names = append(names, ns.Name)
	}
	if machines {
		names = append(names, roleNames(r.lab)...)
	}
	return names
}

// expect reads what a step has to show.
func (r *scenarioReader) expect(n *yaml.Node, s *Step) {
	i := slices.IndexFunc(StepVerbs(), func(v StepVerb) bool { return v.Name == s.Verb })
	shows := append([]string{"errno", "error"}, StepVerbs()[i].Shows...)
	e := &s.Expect
	r.mapping(n, "expect", func(key, v *yaml.Node) {
		if !r.known(key, shows...) {
			return
		}
		switch key.Value {
		case "errno":
			if r.text(key, v, &e.Errno) && unix.ErrnoName(errnoOf(e.Errno)) == "" {
				r.fail(v, "errno %q: want one such as ENODEV", e.Errno)
			}
		case "error":
			r.text(key, v, &e.Error)
		case "reached":
			r.text(key, v, &e.Reached)
			r.answers(v, key.Value, e.Reached)
		case "answer":
			r.text(key, v, &e.Answer)
		case "mode":
			r.text(key, v, &e.Mode)
			if e.Mode != VsockGlobal && e.Mode != VsockLocal {
				r.fail(v, "mode %q: want global or local", e.Mode)
			}
		case "exit":
			if code, ok := r.number(key, v, 0, 255); ok {
				exit := int(code)
				e.Exit = &exit
			}
		case "closed":
			var s string
			r.text(key, v, &s)
			closed, err := strconv.ParseBool(s)
			if err != nil {
				r.fail(v, "closed %q: want true or false", s)
			}
			e.Closed = closed
		}
	})
	if e.Fails() && (e.Reached != "" || e.Answer != "" || e.Mode != "" || e.Exit != nil) {
		r.fail(n, "expect: a failure and an answer (one or the other)")
	}
}

// errnoOf returns the number of the errno called name, 0 if there is none.
func errnoOf(name string) unix.Errno {
	for n := unix.Errno(1); n < 134; n++ { // EHWPOISON, the last one: errno(3)
		if unix.ErrnoName(n) == name {
			return n
		}
	}
	return 0
}
