package command

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/launcher"
)

func newPause(a *app) *cobra.Command {
	return onEach(a, "pause NAME…", "Halt machines where they are; their CIDs stay held", "paused", (*launcher.Launcher).Pause)
}

func newResume(a *app) *cobra.Command {
	return onEach(a, "resume NAME…", "Let paused machines go on", "running", (*launcher.Launcher).Resume)
}

// onEach returns a command that does one thing without options to each machine.
func onEach(a *app, use, short, done string, verb func(*launcher.Launcher, context.Context, string) error) *cobra.Command {
	var c choice
	cmd := &cobra.Command{
		Use:               use,
		Short:             short,
		Args:              c.args,
		ValidArgsFunction: a.machineNames(true),
		RunE: func(cmd *cobra.Command, names []string) error {
			return c.each(cmd, a, names, func(ctx context.Context, l *launcher.Launcher, name string) error {
				if err := verb(l, ctx, name); err != nil {
					return err
				}
				a.tell("%s %s", name, done)
				return nil
			})
		},
	}
	c.add(cmd)
	return cmd
}
