package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/fleet"
	"github.com/vmlaunch/vmlaunch/launcher"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// A Runner changes labs. It holds nothing open; its methods may be called one
// after the other.
type Runner struct {
	Launcher *launcher.Launcher
	Gate     *fleet.Gate

	Detach  bool          // do not wait for guests that no machine waits for
	Orphans bool          // remove what the file has no more
	Timeout time.Duration // for each machine to be ready, instead of its own; 0 for that

	// Said, if not nil, is called when a change begins and when it has ended. It may
	// be called by several goroutines at once.
	Said func(Event)
}

// An Event is the begin or the end of a change.
type Event struct {
	Change
	Ended bool
	Err   error // why it failed, if it has ended
}

// An Outcome is what became of a change.
type Outcome struct {
	Change
	Err error
}

// ErrNotBegun says that a machine was not started because one that it waits for
// is not as it has to be.
var ErrNotBegun = errors.New("not started")

// Now looks at the host. It fails as the launcher and netns.List do.
func (r *Runner) Now(ctx context.Context) (now Now, err error) {
	if now.Machines, err = r.Launcher.Machines(ctx); err != nil {
		return now, err
	}
	if now.Netnses, err = r.Launcher.Netnses(ctx); err != nil {
		return now, err
	}
	names, err := netns.List()
	now.Names = map[string]bool{}
	for _, n := range names {
		now.Names[n] = true
	}
	return now, err
}

// Up does what brings labs up, as [Plan] has it: namespaces first, then machines,
// each as soon as those that it depends on are as they have to be and the gate
// lets it in. A failure stops only what depends on it. The outcomes have the order
// of the plan. Up itself fails with a [*ClashError], with a [RefusedError], and if
// it can't look at the host; then nothing was changed.
func (r *Runner) Up(ctx context.Context, labs []configs.Lab) ([]Outcome, error) {
	modes, err := vsock.Modes()
	if err != nil {
		return nil, err
	}
	if err := CheckCIDs(labs, modes); err != nil {
		return nil, err
	}
	now, err := r.Now(ctx)
	if err != nil {
		return nil, err
	}
	var changes []Change
	for _, l := range labs {
		changes = append(changes, Plan(l, now)...)
	}
	if err := refused(changes); err != nil {
		return nil, err
	}
	return do(ctx, changes, r.perform), nil
}

// do does changes with perform, each once what it waits for is as it has to be,
// and returns what became of them in their order.
func do(ctx context.Context, changes []Change, perform func(context.Context, schedule, *node) error) []Outcome {
	s := newSchedule(changes)
	outcomes := fleet.Each(ctx, s.nodes, len(s.nodes), func(ctx context.Context, n *node) error {
		err := s.await(ctx, n)
		if err == nil {
			err = perform(ctx, s, n)
		}
		n.settle(err)
		return err
	})
	all := make([]Outcome, len(outcomes))
	for i, o := range outcomes {
		o.Item.settle(o.Err) // one that was never begun
		all[i] = Outcome{o.Item.Change, o.Err}
	}
	return all
}

// perform does one change, for which nothing has to be waited but the gate.
func (r *Runner) perform(ctx context.Context, s schedule, n *node) (err error) {
	if n.Action == Remove && !r.Orphans {
		return nil // it stays, and nothing is said to have happened to it
	}
	if n.Kind == kindMachine && n.Action != Keep {
		if err := r.Gate.Enter(ctx); err != nil {
			return fmt.Errorf("machine %q: %w", n.Name, err)
		}
		defer r.Gate.Leave()
	}
	r.say(Event{Change: n.Change})
	defer func() { r.say(Event{Change: n.Change, Ended: true, Err: err}) }()
	if n.Kind == kindNetns {
		return r.performNetns(ctx, n.Change)
	}
	return r.performMachine(ctx, s, n)
}

func (r *Runner) performNetns(ctx context.Context, c Change) error {
	switch c.Action {
	case Create:
		mode, err := vsock.ParseMode(c.netns.Vsock)
		if err != nil {
			return err
		}
		return r.Launcher.CreateNetns(ctx, c.Name, mode, launcher.OfLab(c.Lab))
	case Remove:
		return r.Launcher.RemoveNetns(ctx, c.Name)
	}
	return nil
}

func (r *Runner) performMachine(ctx context.Context, s schedule, n *node) error {
	switch n.Action {
	case Keep:
		return nil
	case Remove:
		return r.Launcher.Remove(ctx, n.Name, true)
	case Replace:
		if err := r.Launcher.Remove(ctx, n.Name, true); err != nil {
			return err
		}
	}
	opts := []launcher.Option{launcher.OnRunning(func() { close(n.running) })}
	if r.Detach && !s.wanted(n) {
		opts = append(opts, launcher.Detached())
	}
	spec := n.machine.Machine
	if r.Timeout > 0 {
		spec.ReadyTimeout = configs.Duration(r.Timeout)
	}
	_, err := r.Launcher.Up(ctx, spec, opts...)
	return err
}

func (r *Runner) say(e Event) {
	if r.Said != nil {
		r.Said(e)
	}
}

// Down takes the labs called names away: their machines, parallel at once, then the
// namespaces that were made for them. A lab that is not there is fine. Guests get
// grace to power off. The outcomes are those of what there was. It fails as
// [Runner.Now] does.
func (r *Runner) Down(ctx context.Context, names []string, parallel int, grace time.Duration) ([]Outcome, error) {
	now, err := r.Now(ctx)
	if err != nil {
		return nil, err
	}
	var machines, spaces []Change
	for _, v := range now.Machines {
		if slices.Contains(names, v.Spec.Lab) {
			machines = append(machines, Change{Lab: v.Spec.Lab, Kind: kindMachine, Name: v.Name, Action: Remove, Why: "its lab goes"})
		}
	}
	for _, n := range now.Netnses {
		if n.Lab != "" && slices.Contains(names, n.Lab) {
			spaces = append(spaces, Change{Lab: n.Lab, Kind: kindNetns, Name: n.Name, Action: Remove, Why: "its lab goes"})
		}
	}
	outcomes := r.remove(ctx, machines, parallel, func(ctx context.Context, name string) error { return r.Launcher.Down(ctx, name, grace) })
	return append(outcomes, r.remove(ctx, spaces, 1, r.Launcher.RemoveNetns)...), nil
}

func (r *Runner) remove(ctx context.Context, changes []Change, limit int, do func(context.Context, string) error) []Outcome {
	results := fleet.Each(ctx, changes, limit, func(ctx context.Context, c Change) (err error) {
		r.say(Event{Change: c})
		defer func() { r.say(Event{Change: c, Ended: true, Err: err}) }()
		return do(ctx, c.Name)
	})
	outcomes := make([]Outcome, len(results))
	for i, o := range results {
		outcomes[i] = Outcome{o.Item, o.Err}
	}
	return outcomes
}
