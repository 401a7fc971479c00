package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/fleet"
	"github.com/vmlaunch/vmlaunch/lab"
)

// labOptions are the flags of up that are about labs.
type labOptions struct {
	labFlags
	parallel int
	orphans  bool
	timeout  time.Duration
	detach   bool
}

// up brings up the labs that the flags ask for; with names, only those machines
// of them and what they depend on.
func (o *labOptions) up(ctx context.Context, a *app, names []string) error {
	labs, err := o.all(a)
	if err != nil {
		return err
	}
	for i := range labs {
		if labs[i], err = selected(labs[i], names); err != nil {
			return err
		}
	}
	if err := a.pullAll(ctx, labs, true); err != nil {
		return err
	}
	l, err := a.launcher(ctx)
	if err != nil {
		return err
	}
	r := &lab.Runner{
		Launcher: l, Gate: fleet.NewGate(o.parallel), Detach: o.detach,
		Orphans: o.orphans && len(names) == 0, Timeout: o.timeout, Said: a.labEvent(o.detach),
	}
	done := a.openBoard()
	outcomes, err := r.Up(ctx, labs)
	done()
	if err != nil {
		return err
	}
	a.noteOrphans(outcomes, o.orphans || len(names) > 0)
	return failures(outcomes)
}

// openBoard begins a live view if progress is shown on a terminal, and returns what
// ends it.
func (a *app) openBoard() (done func()) {
	if a.progress.w == nil || a.progress.plain {
		return func() {}
	}
	a.progress.Done()
	a.board = openBoard(a.progress.w)
	return func() {
		a.board.Close()
		a.board = nil
	}
}

// labEvent returns what tells of the changes of a lab.
func (a *app) labEvent(detach bool) func(lab.Event) {
	return func(e lab.Event) {
		switch {
		case a.board != nil && !e.Ended:
			a.board.Set(e.Name, string(e.Action))
		case a.board != nil && e.Err != nil:
			a.board.End(e.Name, "failed", true)
		case a.board != nil:
			a.board.End(e.Name, strings.TrimPrefix(labChange(e.Change, detach), e.Name+" "), false)
		case !e.Ended:
			a.progress.Say(fmt.Sprintf("%s: %s: %s", e.Name, e.Action, e.Why))
		case e.Err == nil:
			if text := labChange(e.Change, detach); text != "" {
				a.tell("%s", text)
			}
		}
	}
}

// labChange says what a change has done, "" if nothing.
func labChange(c lab.Change, detach bool) string {
	machine := c.IsMachine()
	switch c.Action {
	case lab.Create, lab.Start, lab.Replace:
		switch {
		case !machine:
			return fmt.Sprintf("netns %s made", c.Name)
		case detach:
			return c.Name + " is starting"
		}
		return c.Name + " is ready"
	case lab.Await:
		return c.Name + " is ready"
	case lab.Keep:
		if machine {
			return c.Name + " is running already"
		}
	case lab.Remove:
		if machine {
			return c.Name + " removed"
		}
		return fmt.Sprintf("netns %s removed", c.Name)
	}
	return ""
}

// noteOrphans tells of machines that the file has no more, unless they were dealt
// with.
func (a *app) noteOrphans(outcomes []lab.Outcome, quiet bool) {
	var names []string
	for _, o := range outcomes {
		if o.Action == lab.Remove && o.IsMachine() {
			names = append(names, o.Name)
		}
	}
	if len(names) > 0 && !quiet {
		a.note("not in the file any more: %s (--remove-orphans removes them)", strings.Join(names, ", "))
	}
}

// failures returns what failed as a [*PartialError], or all of it joined if
// nothing stands.
func failures(outcomes []lab.Outcome) error {
	var errs []error
	stand := 0
	for _, o := range outcomes {
		if o.Err != nil {
			errs = append(errs, o.Err)
		} else if o.IsMachine() {
			stand++
		}
	}
	if len(errs) == 0 || stand == 0 {
		return errors.Join(errs...)
	}
	return &PartialError{Failed: len(errs), Of: len(outcomes), Errs: errs}
}

// selected returns l with the machines called names and those that they depend
// on; with all if there are no names. A name may be that of all replicas. It fails
// with [ErrUsage] if there is no such machine.
func selected(l configs.Lab, names []string) (configs.Lab, error) {
	if len(names) == 0 {
		return l, nil
	}
	chosen, needed := map[string]bool{}, map[string]bool{} // machines, and roles
	for _, name := range names {
		found := false
		for _, m := range l.Machines {
			if m.Service == name || m.Role == name || m.Name == name {
				found, chosen[m.Name] = true, true
				need(l, m, needed)
			}
		}
		if !found {
			return l, usagef("machine %q: lab %s has none of that name (it has: %s)", name, l.Name, strings.Join(roles(l), ", "))
		}
	}
	l.Machines = slices.DeleteFunc(slices.Clone(l.Machines), func(m configs.LabMachine) bool { return !chosen[m.Name] && !needed[m.Role] })
	return l, nil
}

// need adds to needed the roles that m depends on, and that those do.
func need(l configs.Lab, m configs.LabMachine, needed map[string]bool) {
	for role := range m.DependsOn {
		if needed[role] {
			continue
		}
		needed[role] = true
		for _, other := range l.Machines {
			if other.Role == role {
				need(l, other, needed)
			}
		}
	}
}

// roles returns the names of a lab's machines as its file has them.
func roles(l configs.Lab) []string {
	var names []string
	for _, m := range l.Machines {
		if !slices.Contains(names, m.Role) {
			names = append(names, m.Role)
		}
	}
	return names
}

// down takes the labs away that the flags ask for.
func (f *labFlags) down(ctx context.Context, a *app, grace time.Duration) error {
	names, err := f.names(a)
	if err != nil {
		return err
	}
	l, err := a.launcher(ctx)
	if err != nil {
		return err
	}
	r := &lab.Runner{Launcher: l, Said: a.labEvent(false)}
	done := a.openBoard()
	all, err := r.Down(ctx, names, atOnce, grace)
	done()
	if err != nil {
		return err
	}
	if len(all) == 0 {
		a.note("there is nothing of lab %s", strings.Join(names, ", "))
	}
	return failures(all)
}
