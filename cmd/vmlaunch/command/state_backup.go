package command

import (
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"
)

func newStateBackup(a *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "backup [FILE]",
		Short: "Copy the state file as it stands between two changes; - is standard output",
		Long: `Copies the state file while others work with it, after it was checked.
FILE is state-TIME.db in this folder unless told otherwise.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("state backup: want one FILE, got %d words", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.store()
			if err != nil {
				return err
			}
			path := "state-" + time.Now().UTC().Format("20060102T150405Z") + ".db"
			if len(args) > 0 {
				path = args[0]
			}
			if path == "-" {
				b, err := s.Backup(cmd.Context())
				if err != nil {
					return err
				}
				_, err = a.host.Out.Write(b)
				return err
			}
			n, err := s.BackupTo(cmd.Context(), path, force)
			if err != nil {
				return err
			}
			a.tell("%s written, %s", path, units.BytesSize(float64(n)))
			return nil
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "replace FILE if there is one")
	return cmd
}
