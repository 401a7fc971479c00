package command

import (
	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/lab"
)

func newPlan(a *app) *cobra.Command {
	var f labFlags
	cmd := &cobra.Command{
		Use:               "plan [NAME…]",
		Short:             "What up would change of a lab, and why",
		Args:              anyNames,
		ValidArgsFunction: noCompletion,
		RunE: func(cmd *cobra.Command, names []string) error {
			labs, err := f.all(a)
			if err != nil {
				return err
			}
			if err := a.pullAll(cmd.Context(), labs, false); err != nil {
				return err
			}
			l, err := a.launcher(cmd.Context())
			if err != nil {
				return err
			}
			r := &lab.Runner{Launcher: l}
			now, err := r.Now(cmd.Context())
			if err != nil {
				return err
			}
			changes := []lab.Change{}
			for _, one := range labs {
				if one, err = selected(one, names); err != nil {
					return err
				}
				changes = append(changes, lab.Plan(one, now)...)
			}
			return a.print(planReport(changes))
		},
	}
	f.add(cmd)
	return cmd
}

func planReport(changes []lab.Change) report {
	rows := make([][]string, len(changes))
	for i, c := range changes {
		rows[i] = []string{string(c.Action), c.Kind, c.Name, c.Why}
	}
	return report{
		data: changes,
		head: []string{"ACTION", "KIND", "NAME", "WHY"},
		rows: rows,
		name: func(i int) string { return changes[i].Name },
	}
}
