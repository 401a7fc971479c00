package command

import (
	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/launcher"
)

func newRepair(a *app) *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use:   "repair",
		Short: "Put the state right, or make it anew, from what runs",
		Long: `Holds the state against processes, namespaces and the kernel's own answer about
CIDs: adopts machines that run without a record, forgets what is gone, and says
why. A state file that is deleted, empty or damaged is made anew from what can be
read of it, from running machines and from the folders of stopped ones; the old
file is kept beside the new one. Nothing that runs is harmed.`,
		Args:              noArgs,
		ValidArgsFunction: noCompletion,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := a.bareLauncher()
			if err != nil {
				return err
			}
			done, err := l.Repair(cmd.Context(), dry)
			rows := make([][]string, len(done))
			for i, r := range done {
				rows[i] = []string{r.Machine, r.What, r.Why}
			}
			if done == nil {
				done = []launcher.Repair{}
			}
			if perr := a.print(report{data: done, head: []string{"MACHINE", "ACTION", "REASON"}, rows: rows}); perr != nil {
				return perr
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "tell what would be done, and change nothing")
	return cmd
}
