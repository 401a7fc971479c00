package command

import (
	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/cidalloc"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// A reservedJSON is what `cid reserve` did.
type reservedJSON struct {
	CID   vsock.CID `json:"cid"`
	Netns string    `json:"netns"`
	For   string    `json:"for,omitempty"`
	Note  string    `json:"note,omitempty"`
}

func newCIDReserve(a *app) *cobra.Command {
	var ref string
	var r cidalloc.ReserveRequest
	cmd := &cobra.Command{
		Use:   "reserve [CID]",
		Short: "Keep a CID for a machine to come, or from all of ours; prints the number",
		Long: `Keeps CID, or a number that is free now, from every machine but the one that --for
names; without --for from all of them, for another program to use. A machine that
has a reservation gets that number when none is asked for. A second time only
changes the note. vmlaunch cid release takes it back.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return oneCID(cmd, args)
		},
		ValidArgsFunction: noCompletion,
		RunE: func(cmd *cobra.Command, args []string) error {
			if r.For != "" {
				if err := validNames([]string{r.For}); err != nil {
					return err
				}
			}
			if len(args) == 1 {
				c, err := vsock.ParseCID(args[0])
				if err != nil {
					return err
				}
				r.CID = c
			}
			return a.withLedger(cmd.Context(), ref, func(alloc *cidalloc.Allocator, ns *netns.NS) error {
				r.NS = ns
				c, err := alloc.Reserve(cmd.Context(), r)
				if err != nil {
					return err
				}
				if a.forPrograms() {
					return a.printJSON(reservedJSON{c, ns.Ref(), r.For, r.Note})
				}
				return a.printLine(c.String())
			})
		},
	}
	netnsFlag(cmd, &ref)
	cmd.Flags().StringVar(&r.For, "for", "", "the `MACHINE` that may have it (default: none of ours)")
	cmd.Flags().StringVar(&r.Note, "note", "", "`TEXT` that says why, shown to who is refused")
	completeWith(cmd, "for", a.machineNames(false))
	return cmd
}
