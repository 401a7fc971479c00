package command

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/cidalloc"
)

func newCIDLs(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List leased and reserved CIDs, and those that strangers were seen to hold",
		Long: `Lists the ledger: leases, reservations, and strangers that were met. With --all
it is a map of this host as of now: also numbers that were freed a moment ago,
this host's own if it is a guest, and every process with an open vhost-vsock
device; "?" is a CID that can't be seen. HELD is the kernel's own word on whether
somebody has the number. Without root only this user's processes are seen.`,
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
			list := func() ([]cidalloc.Row, error) { return alloc.Rows(cmd.Context(), false) }
			if all {
				list = func() ([]cidalloc.Row, error) { return alloc.Map(cmd.Context()) }
			}
			ledger, err := list()
			if err != nil {
				return err
			}
			return a.print(cidReport(ledger, all))
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "a map of this host: also numbers just freed, and all that other programs hold")
	return cmd
}

func cidReport(ledger []cidalloc.Row, all bool) report {
	r := report{
		data: append([]cidalloc.Row{}, ledger...),
		head: []string{"CID", "STATE", "MODE", "NETNS", "HOLDER", "PID", "SINCE", "SPACE"},
		wide: 2,
		name: func(i int) string {
			if ledger[i].CID == 0 {
				return ""
			}
			return ledger[i].CID.String()
		},
	}
	if all {
		r.head = append([]string{"CID", "HELD"}, r.head[1:]...)
	}
	for _, row := range ledger {
		cells := cidRow(row)
		if all {
			cells = append([]string{cells[0], held(row.Held)}, cells[1:]...)
		}
		r.rows = append(r.rows, cells)
	}
	return r
}

func cidRow(r cidalloc.Row) []string {
	cid := r.CID.String()
	if r.CID == 0 {
		cid = "?"
	}
	holder, where := r.Holder, r.Netns
	if holder == "" {
		holder = r.Machine
	}
	if r.State == cidalloc.Reserved {
		holder = "(nobody's machine)"
		if r.ReservedFor != "" {
			holder = r.ReservedFor
		}
		if r.Note != "" {
			holder += ": " + r.Note
		}
	}
	if r.Machine != "" || r.PID != 0 {
		where = nameOrHost(where)
	}
	since := ""
	if !r.Since.IsZero() {
		since = r.Since.Local().Format(time.DateTime)
	}
	return []string{cid, string(r.State), r.Mode.String(), where, holder, number(uint32(r.PID)), since, string(r.Space)}
}

// held returns the kernel's word, if it was asked for.
func held(answer *bool) string {
	switch {
	case answer == nil:
		return ""
	case *answer:
		return "yes"
	}
	return "no"
}
