package command

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/launcher"
)

// defaultGrace is how long a guest may take to power off before QEMU is told to
// end. systemd gives a service 90 s, but a machine is stopped far more often.
const defaultGrace = 30 * time.Second

func newStop(a *app) *cobra.Command {
	grace := defaultGrace
	var c choice
	cmd := &cobra.Command{
		Use:               "stop NAME…",
		Short:             "Ask machines to power off, then end them; their CIDs stay theirs",
		Args:              c.args,
		ValidArgsFunction: a.machineNames(true),
		RunE: func(cmd *cobra.Command, names []string) error {
			return c.each(cmd, a, names, func(ctx context.Context, l *launcher.Launcher, name string) error {
				if err := l.Stop(ctx, name, grace); err != nil {
					return err
				}
				a.tell("%s stopped", name)
				return nil
			})
		},
	}
	cmd.Flags().DurationVar(&grace, "timeout", grace, "how long the guest may take before QEMU is told to end; 0 does not ask the guest")
	c.add(cmd)
	return cmd
}
