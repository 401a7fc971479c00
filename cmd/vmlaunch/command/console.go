package command

import "github.com/spf13/cobra"

func newConsole(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "console NAME",
		Short:             "Attach to a machine's serial console; ~. at a line's start detaches",
		Args:              oneName,
		ValidArgsFunction: a.machineNames(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := a.launcher(cmd.Context())
			if err != nil {
				return err
			}
			conn, err := l.Console(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if _, tty := terminal(a.host.In); tty {
				a.note("attached to %s; detach with ~. at the start of a line", args[0])
			}
			return attach(cmd.Context(), conn, a.host.In, a.host.Out)
		},
	}
}
