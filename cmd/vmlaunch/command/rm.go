package command

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/launcher"
)

func newRm(a *app) *cobra.Command {
	var force bool
	var c choice
	cmd := &cobra.Command{
		Use:               "rm NAME…",
		Short:             "Remove stopped machines: their records, logs and CIDs",
		Args:              c.args,
		ValidArgsFunction: a.machineNames(true),
		RunE: func(cmd *cobra.Command, names []string) error {
			return c.each(cmd, a, names, func(ctx context.Context, l *launcher.Launcher, name string) error {
				if err := l.Remove(ctx, name, force); err != nil {
					return err
				}
				a.tell("%s removed", name)
				return nil
			})
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "running ones too: kill them first")
	c.add(cmd)
	return cmd
}
