package command

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/lab"
	"github.com/vmlaunch/vmlaunch/launcher"
)

// A subject is the one machine that a verb is about: one that flags describe, or one
// of a lab's file.
type subject struct {
	machine machineFlags
	lab     labFlags
}

func (s *subject) add(cmd *cobra.Command) {
	s.machine.add(cmd)
	s.lab.addFile(cmd)
}

// blueprint returns the machine; of a lab, which is nil for one that flags describe,
// args have its name in there. It fails with [ErrUsage], and as labFlags.all does.
func (s *subject) blueprint(cmd *cobra.Command, a *app, args []string) (m configs.LabMachine, of *configs.Lab, err error) {
	if !s.lab.asked(cmd) {
		m.Machine, err = s.machine.blueprint(cmd, nameOrDefault(args))
		return m, nil, err
	}
	var said []string
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if s.machine.flags[f.Name] {
			said = append(said, "--"+f.Name)
		}
	})
	if len(said) > 0 {
		return m, nil, eitherWay(strings.Join(said, ", "))
	}
	labs, err := s.lab.all(a)
	if err != nil {
		return m, nil, err
	}
	l := labs[0] // copies can't be asked for
	name := strings.Join(args, "")
	i := slices.IndexFunc(l.Machines, func(m configs.LabMachine) bool { return m.Service == name || m.Name == name })
	if i < 0 {
		return m, nil, usagef("machine %q: lab %s has none of that name (it has: %s)", name, l.Name, strings.Join(services(l), ", "))
	}
	return l.Machines[i], &l, nil
}

// services returns the names of a lab's machines, each replica with its own.
func services(l configs.Lab) []string {
	var names []string
	for _, m := range l.Machines {
		names = append(names, m.Service)
	}
	return names
}

// makeNamespaces makes the namespaces of a lab that are not there.
func makeNamespaces(ctx context.Context, l *launcher.Launcher, of configs.Lab) error {
	of.Machines = nil
	r := &lab.Runner{Launcher: l} // only machines pass a gate
	outcomes, err := r.Up(ctx, []configs.Lab{of})
	if err != nil {
		return err
	}
	return failures(outcomes)
}
