package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/fleet"
	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/lab"
	"github.com/vmlaunch/vmlaunch/launcher"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// A stage is a lab on which a scenario is played, with what its steps have
// opened.
type stage struct {
	l    *launcher.Launcher
	lab  configs.Lab
	said func(string)

	containers map[string]*container // by name; those of the scenario

	mu     sync.Mutex
	opened map[string]io.Closer // by the name of a step's as
	ended  map[string]time.Time // steps with a name
}

func newStage(l *launcher.Launcher, of configs.Lab, said func(string)) *stage {
	return &stage{
		l: l, lab: of, said: said, containers: map[string]*container{},
		opened: map[string]io.Closer{}, ended: map[string]time.Time{},
	}
}

// prepare starts the containers, and makes the namespaces of the lab.
func (st *stage) prepare(ctx context.Context, containers []configs.ScenarioContainer) error {
	for _, c := range containers {
		started, err := startContainer(c)
		if err != nil {
			return err
		}
		st.containers[c.Name] = started
		st.keep(c.Name, started)
	}
	st.lab.Machines = inContainers(st.lab.Machines, st.containers)
	return st.up(ctx, nil)
}

// up brings machines up, by their names in the lab.
func (st *stage) up(ctx context.Context, names []string) error {
	some := st.lab
	some.Machines = nil
	for _, m := range st.lab.Machines {
		if slices.Contains(names, m.Service) {
			some.Machines = append(some.Machines, m)
		}
	}
	r := &lab.Runner{Launcher: st.l, Gate: fleet.NewGate(0)}
	outcomes, err := r.Up(ctx, []configs.Lab{some})
	return failed(outcomes, err)
}

// clear takes the lab away, also when ctx has ended.
func (st *stage) clear(ctx context.Context) error {
	r := &lab.Runner{Launcher: st.l}
	outcomes, err := r.Down(context.WithoutCancel(ctx), []string{st.lab.Name}, 16, endGrace)
	return failed(outcomes, err)
}

// failed joins err and what failed among outcomes.
func failed(outcomes []lab.Outcome, err error) error {
	errs := []error{err}
	for _, o := range outcomes {
		errs = append(errs, o.Err)
	}
	return errors.Join(errs...)
}

// close closes what the steps have opened.
func (st *stage) close() {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, c := range st.opened {
		_ = c.Close() // what it is connected to goes as well
	}
}

// keep remembers what a step opened, under the name that it gave.
func (st *stage) keep(as string, c io.Closer) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if old := st.opened[as]; old != nil {
		_ = old.Close()
	}
	st.opened[as] = c
}

func (st *stage) get(name string) io.Closer {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.opened[name]
}

// machine returns the machine of that name in the lab.
func (st *stage) machine(name string) (configs.LabMachine, bool) {
	i := slices.IndexFunc(st.lab.Machines, func(m configs.LabMachine) bool { return m.Service == name })
	if i < 0 {
		return configs.LabMachine{}, false
	}
	return st.lab.Machines[i], true
}

// service returns the name in the lab of the machine that has a name on the host.
func (st *stage) service(host string) string { return strings.TrimPrefix(host, st.lab.Name+".") }

// enter opens a place that is no machine. The caller closes it.
func (st *stage) enter(name string) (*netns.NS, error) {
	if name == "" || name == configs.PlaceHost {
		return netns.Open("")
	}
	if c, ok := st.containers[name]; ok {
		return c.enter()
	}
	for _, ns := range st.lab.Namespaces {
		if ns.Name == name {
			return netns.Open(ns.Netns)
		}
	}
	return nil, fmt.Errorf("namespace %q: the lab has none of that name", name)
}

// cidOf returns the CID that a machine has now.
func (st *stage) cidOf(ctx context.Context, m configs.LabMachine) (vsock.CID, error) {
	if m.CID != 0 {
		return vsock.CID(m.CID), nil // also of one that is down
	}
	v, err := st.l.Inspect(ctx, m.Name)
	return v.CID, err
}

// answerPort is where a machine tells who it is.
func answerPort(m configs.LabMachine) uint32 {
	if m.Guest() == configs.GuestProbe {
		return guest.ProbeControl
	}
	return 22
}
