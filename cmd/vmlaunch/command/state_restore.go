package command

import "github.com/spf13/cobra"

func newStateRestore(a *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Put a copy in place of the state file, which is kept aside",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("state restore: want one FILE, got %d words", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.store()
			if err != nil {
				return err
			}
			kept, err := s.Restore(cmd.Context(), args[0], force)
			if err != nil {
				return err
			}
			if kept == "" {
				a.tell("%s restored", args[0])
				return nil
			}
			a.tell("%s restored; the state before it is %s", args[0], kept)
			return nil
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "even if machines run that FILE does not know: they are left alone")
	return cmd
}
