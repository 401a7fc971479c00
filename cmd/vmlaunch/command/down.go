package command

import (
	"context"

	"github.com/spf13/cobra"
)

func newDown(a *app) *cobra.Command {
	grace := defaultGrace
	var f labFlags
	cmd := &cobra.Command{
		Use:   "down [NAME…]",
		Short: "Stop and remove machines, or a lab, and the namespaces that up made for them",
		Long: `Stops and removes the machines called NAME (default dev). With a file or the name
of a lab, or where there is a vmlaunch.yaml and no NAME is given, takes away all
that up made for the lab, namespaces included, whatever the file says by now.`,
		Args:              anyNames,
		ValidArgsFunction: a.machineNames(true),
		RunE: func(cmd *cobra.Command, names []string) error {
			if about, err := f.aboutDown(cmd, names); err != nil {
				return err
			} else if about {
				return f.down(cmd.Context(), a, grace)
			}
			if len(names) == 0 {
				names = []string{defaultMachine}
			}
			l, err := a.launcher(cmd.Context())
			if err != nil {
				return err
			}
			return forEach(cmd.Context(), names, func(ctx context.Context, name string) error {
				if err := l.Down(ctx, name, grace); err != nil {
					return err
				}
				a.tell("%s removed", name)
				return nil
			})
		},
	}
	cmd.Flags().DurationVar(&grace, "timeout", grace, "how long the guest may take before QEMU is told to end; 0 does not ask the guest")
	f.add(cmd)
	return cmd
}

// aboutDown reports whether down is about a lab. It fails with [ErrUsage] if it is
// and machines are named as well.
func (f *labFlags) aboutDown(cmd *cobra.Command, names []string) (bool, error) {
	asked := f.asked(cmd)
	if asked && len(names) > 0 {
		return false, usagef("down: a lab, or machines by NAME, not both (machine %q is called LAB.%s in vmlaunch ls)", names[0], names[0])
	}
	return asked || len(names) == 0 && f.there(), nil
}
