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
	)
	cmd := &cobra.Command{
		Use:               "wait NAME…",
		Short:             "Wait until machines are running, ready or stopped",
		Args:              someNames,
		ValidArgsFunction: a.machineNames(true),
		RunE: func(cmd *cobra.Command, names []string) error {
			condition, err := launcher.ParseCondition(what)
			if err != nil {
				return &usageError{err}
			}
			l, err := a.launcher(cmd.Context())
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			return forEach(names, func(name string) error {
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
	return cmd
}
