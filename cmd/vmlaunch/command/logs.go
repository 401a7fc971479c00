package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/fleet"
	"github.com/vmlaunch/vmlaunch/launcher"
)

type logsOptions struct {
	follow, previous, qemu bool
	tail                   int
	choice
}

func newLogs(a *app) *cobra.Command {
	var o logsOptions
	cmd := &cobra.Command{
		Use:   "logs NAME",
		Short: "What a machine wrote to its serial console",
		Long: `Prints what the machine NAME wrote to its serial console. With --lab or --all there
is no NAME: it prints that of all those machines, each line behind its machine's name.`,
		Args:              o.args,
		ValidArgsFunction: a.machineNames(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.tail < -1 {
				return usagef("--tail %d: want 0 or more lines, or -1 for all", o.tail)
			}
			l, err := a.launcher(cmd.Context())
			if err != nil {
				return err
			}
			if o.flagged() {
				return o.runAll(cmd.Context(), a, l)
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
	o.add(cmd)
	return cmd
}

// args asks for one name, or for flags that choose.
func (o *logsOptions) args(cmd *cobra.Command, args []string) error {
	if !o.flagged() {
		return oneName(cmd, args)
	}
	return o.choice.args(cmd, args)
}

// runAll prints the logs of all machines that are chosen, line by line as they come.
func (o *logsOptions) runAll(ctx context.Context, a *app, l *launcher.Launcher) error {
	names, err := o.names(ctx, l, nil)
	if err != nil {
		return err
	}
	width := longest(names)
	var mu sync.Mutex
	a.progress.Done()
	results := fleet.Each(ctx, names, len(names), func(ctx context.Context, name string) error { // all at once, to be followed
		one := *o // run changes it
		out := &lines{mu: &mu, w: a.host.Out, prefix: prefixed(name, width)}
		return errors.Join(one.run(ctx, l, name, out), out.Close())
	})
	return partial(results)
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
