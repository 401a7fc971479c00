package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/launcher"
)

func newWait(a *app) *cobra.Command {
	var (
		what    string
		timeout time.Duration
		c       choice
	)
	cmd := &cobra.Command{
		Use:               "wait NAME…",
		Short:             "Wait until machines are running, ready or stopped",
		Args:              c.args,
		ValidArgsFunction: a.machineNames(true),
		RunE: func(cmd *cobra.Command, names []string) error {
			condition, err := launcher.ParseCondition(what)
			if err != nil {
				return &usageError{err}
			}
			if timeout > 0 {
				ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
				defer cancel()
				cmd.SetContext(ctx)
			}
			return c.each(cmd, a, names, func(ctx context.Context, l *launcher.Launcher, name string) error {
				err := l.Wait(ctx, name, condition)
				if errors.Is(err, context.DeadlineExceeded) {
					return fmt.Errorf("%w (waited %s; longer: --timeout)", err, timeout)
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&what, "for", "ready", "running, ready, ssh or stopped")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "give up after this long, with exit code 7 (default: never)")
	complete(cmd, "for", "running", "ready", "ssh", "stopped")
	c.add(cmd)
	return cmd
}
