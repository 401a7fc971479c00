package command

import "github.com/spf13/cobra"

func newLs(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "ls",
		Aliases:           []string{"ps", "list"},
		Short:             "List the machines and what they really do now",
		Args:              noArgs,
		ValidArgsFunction: noCompletion,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := a.launcher(cmd.Context())
			if err != nil {
				return err
			}
			views, err := l.Machines(cmd.Context())
			if err != nil {
				return err
			}
			machines := make([]machineJSON, len(views))
			rows := make([][]string, len(views))
			for i, v := range views {
				machines[i] = toJSON(v)
				rows[i] = machines[i].row()
			}
			return a.print(report{
				data: machines,
				head: machineHead(),
				wide: 2,
				rows: rows,
				name: func(i int) string { return machines[i].Name },
			})
		},
	}
}
