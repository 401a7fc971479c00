package command

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/launcher"
	"github.com/vmlaunch/vmlaunch/store"
)

func newRun(a *app) *cobra.Command {
	var of subject
	var keep bool
	cmd := &cobra.Command{
		Use:   "run [NAME]",
		Short: "One machine in the foreground: console attached, ends with it",
		Long: `Runs the machine NAME (default dev) with its console attached, and removes it when
it ends. The exit code is QEMU's. Ctrl-C and SIGTERM ask the guest to power off,
so a systemd unit or a scheduler can supervise it. On a terminal, ~. at the start
of a line stops the machine.

With --keep the machine stays when it has ended, and the next run --keep starts it
again, with its disk and its CID: vmlaunch systemd-unit prints a unit that does.

With a lab's file NAME is one of its machines. The lab's namespaces are made if they
are not there; what the machine depends on is not started.`,
		Args:              atMostOneName,
		ValidArgsFunction: noCompletion,
		RunE: func(cmd *cobra.Command, args []string) error {
			m, inLab, err := of.blueprint(cmd, a, args)
			if err != nil {
				return err
			}
			spec, err := a.pulled(cmd.Context(), m.Machine)
			if err != nil {
				return err
			}
			l, err := a.launcher(cmd.Context())
			if err != nil {
				return err
			}
			if inLab != nil {
				if err := makeNamespaces(cmd.Context(), l, *inLab); err != nil {
					return err
				}
			}
			exit, err := l.Run(cmd.Context(), spec, func(ctx context.Context, m store.Machine) error {
				defer serviceManager(a.host.Getenv("NOTIFY_SOCKET")).watch(ctx, l, m.Name)()
				conn, err := l.Console(ctx, m.Name)
				if err != nil {
					return err
				}
				a.progress.Done()
				for _, line := range portLines(l, m.Name) {
					a.note("%s", line)
				}
				return attach(ctx, conn, a.host.In, a.host.Out)
			}, launcher.Keeping(keep))
			if err == nil && exit != 0 {
				return exitStatus(exit)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "keep the machine when it ends, and start the one that was kept")
	of.add(cmd)
	return cmd
}
