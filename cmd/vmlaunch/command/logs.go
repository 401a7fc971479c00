package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/launcher"
)

type logsOptions struct {
	follow, previous, qemu bool
}

func newLogs(a *app) *cobra.Command {
	var o logsOptions
	cmd := &cobra.Command{
		Use:               "logs NAME",
		Short:             "What a machine wrote to its serial console",
		Args:              oneName,
		ValidArgsFunction: a.machineNames(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.follow && o.previous {
				return usagef("logs: --follow and --previous exclude each other")
			}
			l, err := a.launcher(cmd.Context())
			if err != nil {
				return err
			}
			if _, err := l.Inspect(cmd.Context(), args[0]); err != nil {
				return err
			}
			return o.run(cmd.Context(), l, args[0], a.host.Out)
		},
	}
	cmd.Flags().BoolVarP(&o.follow, "follow", "f", false, "go on with what comes, until the machine has ended")
	cmd.Flags().BoolVar(&o.previous, "previous", false, "of the run before the last start")
	cmd.Flags().BoolVar(&o.qemu, "qemu", false, "what QEMU itself said, instead of the console")
	return cmd
}

func (o *logsOptions) run(ctx context.Context, l *launcher.Launcher, name string, out io.Writer) error {
	path := o.path(l.Logs(name))
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("machine %q: no log %s: %w", name, path, fs.ErrNotExist)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if !o.follow {
		_, err = io.Copy(out, f)
		return err
	}
	return follow(ctx, f, out, func() (bool, error) {
		v, err := l.Inspect(ctx, name)
		return v.QEMU.IsZero(), err
	})
}

func (o *logsOptions) path(logs launcher.Logs) string {
	switch {
	case o.qemu && o.previous:
		return logs.QEMUPrevious
	case o.qemu:
		return logs.QEMU
	case o.previous:
		return logs.ConsolePrevious
	}
	return logs.Console
}
