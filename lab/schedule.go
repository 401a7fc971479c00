package lab

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/vmlaunch/vmlaunch/configs"
)

// A node is a change under way, and what others wait for in it.
type node struct {
	Change
	running chan struct{} // closed when its machine runs
	settled chan struct{} // closed when it has ended, well or not
	once    sync.Once
	err     error // read only once settled is closed
}

func (n *node) settle(err error) {
	n.once.Do(func() {
		n.err = err
		close(n.settled)
	})
}

// A schedule says which changes wait for which.
type schedule struct {
	nodes    []*node
	netnses  map[string][]*node // of a lab
	services map[string][]*node // by lab and role
}

func newSchedule(changes []Change) schedule {
	s := schedule{netnses: map[string][]*node{}, services: map[string][]*node{}}
	for _, c := range changes {
		n := &node{Change: c, running: make(chan struct{}), settled: make(chan struct{})}
		s.nodes = append(s.nodes, n)
		switch c.Kind {
		case kindNetns:
			s.netnses[c.Lab] = append(s.netnses[c.Lab], n)
		case kindMachine:
			key := service(c.Lab, c.machine.Role)
			s.services[key] = append(s.services[key], n)
		}
	}
	return s
}

func service(lab, role string) string { return lab + "/" + role }

// wanted reports whether some machine waits for n to be ready.
func (s schedule) wanted(n *node) bool {
	return slices.ContainsFunc(s.nodes, func(o *node) bool {
		return o.Lab == n.Lab && o.Kind == kindMachine && o.machine.DependsOn[n.machine.Role] == configs.DependsReady
	})
}

// await waits until what n depends on is as it has to be. It fails with
// [ErrNotBegun] if that can't come any more, and with ctx's cause.
func (s schedule) await(ctx context.Context, n *node) error {
	if n.Kind != kindMachine || n.Action == Remove {
		return s.awaitAll(ctx, n, s.before(n), "")
	}
	if err := s.awaitAll(ctx, n, s.netnsesOf(n), ""); err != nil {
		return err
	}
	for _, role := range slices.Sorted(maps.Keys(n.machine.DependsOn)) {
		if err := s.awaitAll(ctx, n, s.services[service(n.Lab, role)], n.machine.DependsOn[role]); err != nil {
			return err
		}
	}
	return nil
}

// before returns what has to go before an orphan namespace can: the orphans that
// may live in it.
func (s schedule) before(n *node) []*node {
	if n.Kind != kindNetns || n.Action != Remove {
		return nil
	}
	var all []*node
	for _, o := range s.nodes {
		if o.Lab == n.Lab && o.Kind == kindMachine && o.Action == Remove {
			all = append(all, o)
		}
	}
	return all
}

// netnsesOf returns the node that makes the namespace of n.
func (s schedule) netnsesOf(n *node) []*node {
	return slices.DeleteFunc(slices.Clone(s.netnses[n.Lab]), func(o *node) bool { return o.Name != n.machine.Netns })
}

// awaitAll waits for all of others: to run if that is the condition, else to have
// ended well.
func (s schedule) awaitAll(ctx context.Context, n *node, others []*node, condition string) error {
	for _, o := range others {
		runs := make(<-chan struct{})
		if condition == configs.DependsRunning {
			runs = o.running
		}
		select {
		case <-runs:
			continue
		case <-o.settled:
		case <-ctx.Done():
			return fmt.Errorf("machine %q: %w: %w", n.Name, ErrNotBegun, context.Cause(ctx))
		}
		select {
		case <-runs: // it did, whatever became of it
			continue
		default:
		}
		if o.err != nil {
			return fmt.Errorf("%s %q: %w: %s %q, which it waits for, failed", n.Kind, n.Name, ErrNotBegun, o.Kind, o.Name)
		}
	}
	return nil
}
