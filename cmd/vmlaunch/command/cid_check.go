package command

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/vsock"
)

func newCIDCheck(a *app) *cobra.Command {
	var ref string
	cmd := &cobra.Command{
		Use:   "check CID",
		Short: "Say whether a new machine would get a CID; starts nothing and takes nothing",
		Long: `Asks the ledger, and the kernel without claiming the number, what a start with
--cid CID would meet: exit code 0 if it would get the number, 5 if not, with the
holder named, 2 for a number that no guest can have, 6 if this host can't run
machines. Where ledger and kernel differ it says so.`,
		Args:              oneCID,
		ValidArgsFunction: noCompletion,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.look(cmd.Context(), args, ref)
			if err == nil {
				err = vsock.Usable()
			}
			if err != nil {
				return err
			}
			if a.forPrograms() {
				return errors.Join(a.printJSON(s), s.Err())
			}
			if err := s.Err(); err != nil {
				return err
			}
			a.tell("%s", s.Says)
			return nil
		},
	}
	netnsFlag(cmd, &ref)
	return cmd
}
