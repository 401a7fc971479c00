package command

import (
	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/cidalloc"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

func newCIDRelease(a *app) *cobra.Command {
	var ref string
	cmd := &cobra.Command{
		Use:   "release CID",
		Short: "End a reservation, a cool-down, or what is remembered of a stranger",
		Long: `Makes CID free to be chosen: ends its reservation, its cool-down, or what is
remembered of a stranger that had it. Twice is fine. A machine's own number stays
the machine's: exit code 4.`,
		Args:              oneCID,
		ValidArgsFunction: noCompletion,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := vsock.ParseCID(args[0])
			if err != nil {
				return err
			}
			return a.withLedger(cmd.Context(), ref, func(alloc *cidalloc.Allocator, ns *netns.NS) error {
				was, err := alloc.Unreserve(cmd.Context(), ns, c)
				switch {
				case err != nil:
					return err
				case was.State == cidalloc.Leased:
					a.tell("cid %d: no longer reserved; machine %q goes on having it", c, was.Machine)
				case was.State == "":
					a.tell("cid %d: there was nothing to release", c)
				default:
					a.tell("cid %d: released (was %s)", c, was.State)
				}
				return nil
			})
		},
	}
	netnsFlag(cmd, &ref)
	return cmd
}
