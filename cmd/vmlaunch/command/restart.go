package command

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/fleet"
	"github.com/vmlaunch/vmlaunch/launcher"
)

func newRestart(a *app) *cobra.Command {
	grace := defaultGrace
	var detach bool
	var c choice
	cmd := &cobra.Command{
		Use:               "restart NAME…",
		Short:             "Stop machines and start them again, with the CIDs they had",
		Args:              c.args,
		ValidArgsFunction: a.machineNames(true),
		RunE: func(cmd *cobra.Command, names []string) error {
			gate := fleet.NewGate(0)
			return c.each(cmd, a, names, func(ctx context.Context, l *launcher.Launcher, name string) error {
				if err := l.Stop(ctx, name, grace); err != nil {
					return err
				}
				if err := gate.Enter(ctx); err != nil {
					return err
				}
				defer gate.Leave()
				m, err := l.Start(ctx, name, detached(detach)...)
				if err != nil {
					return err
				}
				a.tell("%s %s, cid %d in %s", name, upState(detach, false, m.Spec.Awaited()), m.CID, where(m.Netns))
				return nil
			})
		},
	}
	cmd.Flags().DurationVar(&grace, "timeout", grace, "how long a guest may take to power off before QEMU is told to end")
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "do not wait for the guests to be ready")
	c.add(cmd)
	return cmd
}
