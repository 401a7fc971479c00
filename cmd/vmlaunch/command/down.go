package command

import "github.com/spf13/cobra"

func newDown(a *app) *cobra.Command {
	grace := defaultGrace
	cmd := &cobra.Command{
		Use:               "down [NAME…]",
		Short:             "Stop and remove machines, and the namespaces that up made for them",
		Args:              anyNames,
		ValidArgsFunction: a.machineNames(true),
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(names) == 0 {
				names = []string{defaultMachine}
			}
			l, err := a.launcher(cmd.Context())
			if err != nil {
				return err
			}
			return forEach(names, func(name string) error {
				if err := l.Down(cmd.Context(), name, grace); err != nil {
					return err
				}
				a.tell("%s removed", name)
				return nil
			})
		},
	}
	cmd.Flags().DurationVar(&grace, "timeout", grace, "how long the guest may take before QEMU is told to end; 0 does not ask the guest")
	return cmd
}
