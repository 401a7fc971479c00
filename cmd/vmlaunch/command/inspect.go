package command

import (
	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/launcher"
)

func newInspect(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "inspect NAME",
		Short:             "Everything about a machine, as JSON",
		Args:              oneName,
		ValidArgsFunction: a.machineNames(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := a.launcher(cmd.Context())
			if err != nil {
				return err
			}
			v, err := l.Inspect(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			user, group := launcher.Belonging(v.Machine)
			return a.printJSON(inspectJSON{
				machineJSON: toJSON(v),
				UUID:        v.UUID,
				Space:       v.Space,
				NetnsInfo:   v.Netns,
				Spec:        v.Spec,
				NICs:        v.NICs,
				Ports:       l.Ports(v.Name),
				RunAs:       user,
				Group:       group,
				RunDir:      v.RunDir,
				Logs:        logsJSON(l.Logs(v.Name)),
			})
		},
	}
}
