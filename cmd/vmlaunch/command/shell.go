package command

import (
	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/guest"
)

func newShell(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "shell NAME",
		Aliases:           []string{"ssh"},
		Short:             "A shell in a machine",
		Long:              "Opens a login shell in the machine NAME, over vsock. Its exit code becomes ours; 125 means that there was none.",
		Args:              oneName,
		ValidArgsFunction: a.machineNames(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := a.launcher(cmd.Context())
			if err != nil {
				return &ownFailure{err}
			}
			_, tty := terminalIn(a.host.In)
			return passThrough(runInGuest(cmd.Context(), a, l, args[0], a.streams(guest.Command{TTY: tty})))
		},
	}
}
