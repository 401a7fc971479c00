package command

import (
	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/launcher"
)

func newStart(a *app) *cobra.Command {
	var detach bool
	cmd := &cobra.Command{
		Use:               "start NAME…",
		Short:             "Start stopped machines, with the CIDs they had",
		Args:              someNames,
		ValidArgsFunction: a.machineNames(true),
		RunE: func(cmd *cobra.Command, names []string) error {
			l, err := a.launcher(cmd.Context())
			if err != nil {
				return err
			}
			return forEach(names, func(name string) error {
				m, err := l.Start(cmd.Context(), name, detached(detach)...)
				if err != nil {
					return err
				}
				a.tell("%s %s, cid %d in %s", name, upState(detach, false, m.Spec.Awaited()), m.CID, where(m.Netns))
				return nil
			})
		},
	}
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "do not wait for the guests to be ready")
	return cmd
}

func detached(yes bool) []launcher.Option {
	if !yes {
		return nil
	}
	return []launcher.Option{launcher.Detached()}
}
