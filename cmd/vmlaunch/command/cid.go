package command

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/cidalloc"
)

func newCID(a *app) *cobra.Command {
	return group("cid", "The ledger: which CID is whose, in which space", newCIDLs(a))
}

func newCIDLs(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:               "ls",
		Short:             "List leased CIDs, and those that strangers were seen to hold",
		Args:              noArgs,
		ValidArgsFunction: noCompletion,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := a.launcher(cmd.Context()); err != nil {
				return err
			}
			alloc, err := a.allocator()
			if err != nil {
				return err
			}
			ledger, err := alloc.Rows(cmd.Context(), all)
			if err != nil {
				return err
			}
			rows := make([][]string, len(ledger))
			for i, r := range ledger {
				rows[i] = cidRow(r)
			}
			if ledger == nil {
				ledger = []cidalloc.Row{}
			}
			return a.print(report{
				data: ledger,
				head: []string{"CID", "STATE", "MODE", "NETNS", "HOLDER", "PID", "SINCE", "SPACE"},
				wide: 2,
				rows: rows,
				name: func(i int) string { return ledger[i].CID.String() },
			})
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "also those that were freed a moment ago and are not given out yet")
	return cmd
}

func cidRow(r cidalloc.Row) []string {
	holder := r.Machine
	if r.State == cidalloc.Foreign {
		holder = r.Holder
	}
	where := r.Netns
	if r.Machine != "" {
		where = nameOrHost(where)
	}
	since := ""
	if !r.Since.IsZero() {
		since = r.Since.Local().Format(time.DateTime)
	}
	return []string{r.CID.String(), string(r.State), r.Mode.String(), where, holder, number(uint32(r.PID)), since, string(r.Space)}
}
