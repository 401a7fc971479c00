package command

import (
	"errors"
	"io/fs"

	"github.com/spf13/cobra"
)

func newCIDWho(a *app) *cobra.Command {
	var ref string
	cmd := &cobra.Command{
		Use:   "who CID",
		Short: "Name who has a CID: a machine, a reservation, this host, or a stranger's process",
		Long: `Names who has the CID as seen from the namespace: our machine, a reservation, this
host itself, the machine that gave it back a moment ago, or another program's
process, found by its open vhost-vsock device. Exit code 3 if nobody has it.`,
		Args:              oneCID,
		ValidArgsFunction: noCompletion,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.look(cmd.Context(), args, ref)
			if err != nil {
				return err
			}
			if a.forPrograms() {
				err = a.printJSON(s)
			}
			switch {
			case s.Nobody():
				return errors.Join(err, nobody(s.Says))
			case !a.forPrograms():
				return a.printLine(s.Says)
			}
			return err
		},
	}
	netnsFlag(cmd, &ref)
	return cmd
}

// nobody says that a CID has no holder: an [fs.ErrNotExist].
type nobody string

func (n nobody) Error() string { return string(n) }

func (n nobody) Is(target error) bool { return target == fs.ErrNotExist }
