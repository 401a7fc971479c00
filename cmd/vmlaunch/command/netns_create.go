package command

import (
	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/vsock"
)

func newNetnsCreate(a *app) *cobra.Command {
	var mode string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a namespace with a vsock mode",
		Long: `Makes the network namespace NAME, as ip netns add does, with a vsock mode of its
own: local has CIDs to itself, global shares one space with the host. The mode is
fixed for the life of the namespace.`,
		Example:           "  vmlaunch netns create lab1 --vsock local",
		ValidArgsFunction: noCompletion,
		Args:              oneNetns,
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := vsock.ParseMode(mode)
			if err != nil {
				return err
			}
			l, err := a.launcher(cmd.Context())
			if err != nil {
				return err
			}
			if err := l.CreateNetns(cmd.Context(), args[0], m); err != nil {
				return err
			}
			a.tell("netns %s made, vsock mode %s", args[0], m)
			return nil
		},
	}
	cmd.Flags().StringVar(&mode, "vsock", "local", "vsock `MODE`: local or global")
	complete(cmd, "vsock", "local", "global")
	return cmd
}
