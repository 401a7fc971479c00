package command

import "github.com/spf13/cobra"

func newRestart(a *app) *cobra.Command {
	grace := defaultGrace
	var detach bool
	cmd := &cobra.Command{
		Use:               "restart NAME…",
		Short:             "Stop machines and start them again, with the CIDs they had",
		Args:              someNames,
		ValidArgsFunction: a.machineNames(true),
		RunE: func(cmd *cobra.Command, names []string) error {
			l, err := a.launcher(cmd.Context())
			if err != nil {
				return err
			}
			return forEach(names, func(name string) error {
				if err := l.Stop(cmd.Context(), name, grace); err != nil {
					return err
				}
				m, err := l.Start(cmd.Context(), name, detached(detach)...)
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
	return cmd
}
