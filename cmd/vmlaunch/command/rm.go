package command

import "github.com/spf13/cobra"

func newRm(a *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:               "rm NAME…",
		Short:             "Remove stopped machines: their records, logs and CIDs",
		Args:              someNames,
		ValidArgsFunction: a.machineNames(true),
		RunE: func(cmd *cobra.Command, names []string) error {
			l, err := a.launcher(cmd.Context())
			if err != nil {
				return err
			}
			return forEach(names, func(name string) error {
				if err := l.Remove(cmd.Context(), name, force); err != nil {
					return err
				}
				a.tell("%s removed", name)
				return nil
			})
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "running ones too: kill them first")
	return cmd
}
