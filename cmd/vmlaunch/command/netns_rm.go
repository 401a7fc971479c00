package command

import (
	"context"

	"github.com/spf13/cobra"
)

func newNetnsRm(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "rm NAME…",
		Short:             "Remove namespaces; machines in them are refused",
		ValidArgsFunction: namespaceNames,
		Args:              someNetns,
		RunE: func(cmd *cobra.Command, names []string) error {
			l, err := a.launcher(cmd.Context()) // machines that are gone don't count
			if err != nil {
				return err
			}
			return forEach(cmd.Context(), names, func(ctx context.Context, name string) error {
				if err := l.RemoveNetns(ctx, name); err != nil {
					return err
				}
				a.tell("netns %s removed", name)
				return nil
			})
		},
	}
}
