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
	tail                   int
}

func newLogs(a *app) *cobra.Command {
	var o logsOptions
	cmd := &cobra.Command{
		Use:               "logs NAME",
		Short:             "What a machine wrote to its serial console",
		Args:              oneName,
		ValidArgsFunction: a.machineNames(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.tail < -1 {
				return usagef("--tail %d: want 0 or more lines, or -1 for all", o.tail)
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
	cmd.Flags().BoolVar(&o.previous, "previous", false, "of the run before the last start; with --follow that one first")
	cmd.Flags().IntVar(&o.tail, "tail", -1, "begin with the last `N` lines (default: all)")
	cmd.Flags().BoolVar(&o.qemu, "qemu", false, "what QEMU itself said, instead of the console")
	return cmd
}

func (o *logsOptions) run(ctx context.Context, l *launcher.Launcher, name string, out io.Writer) error {
	logs := l.Logs(name)
	now, before := logs.Console, logs.ConsolePrevious
	if o.qemu {
		now, before = logs.QEMU, logs.QEMUPrevious
	}
	if o.previous {
		if err := o.show(name, before, out, nil); err != nil || !o.follow {
			return err
		}
		o.tail = -1 // all that came after it
	}
	if !o.follow {
		return o.show(name, now, out, nil)
	}
	return o.show(name, now, out, func(f *os.File) error {
		return follow(ctx, f, out, func() (bool, error) {
			v, err := l.Inspect(ctx, name)
			return v.QEMU.IsZero(), err
		})
	})
}

// show writes the log at path, or hands it over where it is to begin. It fails with
// [fs.ErrNotExist] if there is none.
func (o *logsOptions) show(name, path string, out io.Writer, goOn func(*os.File) error) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("machine %q: no log %s: %w", name, path, fs.ErrNotExist)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := toTail(f, o.tail); err != nil {
		return err
	}
	if goOn != nil {
		return goOn(f)
	}
	_, err = io.Copy(out, f)
	return err
}
