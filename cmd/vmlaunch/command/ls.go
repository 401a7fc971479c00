package command

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/launcher"
)

func newLs(a *app) *cobra.Command {
	var c choice
	cmd := &cobra.Command{
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
			if c.lab != "" {
				views = slices.DeleteFunc(views, func(v launcher.View) bool { return !c.has(v) })
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
	cmd.Flags().StringVarP(&c.lab, "lab", "p", "", "only machines of the lab `NAME` and of its copies")
	return cmd
}
