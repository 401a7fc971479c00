package command

import (
	"encoding/json"

	"github.com/spf13/cobra"
)

func newQMP(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "qmp NAME COMMAND [JSON]",
		Short:             "One QMP command to a machine's QEMU, its answer as JSON",
		Example:           "  vmlaunch qmp dev query-status\n  vmlaunch qmp dev human-monitor-command '{\"command-line\": \"info network\"}'",
		ValidArgsFunction: a.machineNames(false),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 || len(args) > 3 {
				return usagef("qmp: want NAME COMMAND and perhaps its arguments as JSON")
			}
			if len(args) == 3 && !json.Valid([]byte(args[2])) {
				return usagef("qmp arguments %q: not JSON (quote them for the shell)", args[2])
			}
			return validNames(args[:1])
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := a.launcher(cmd.Context())
			if err != nil {
				return err
			}
			client, err := l.QMP(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer client.Close()
			var arguments any
			if len(args) == 3 {
				arguments = json.RawMessage(args[2])
			}
			var answer json.RawMessage
			if err := client.Execute(cmd.Context(), args[1], arguments, &answer); err != nil {
				return err
			}
			return a.printJSON(answer)
		},
	}
}
