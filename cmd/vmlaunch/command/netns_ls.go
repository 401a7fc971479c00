package command

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/netns"
)

func newNetnsLs(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "ls",
		Short:             "List the host's own namespace and all that have a name",
		Args:              noArgs,
		ValidArgsFunction: noCompletion,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := a.launcher(cmd.Context()); err != nil { // what was broken off is not to be seen
				return err
			}
			records, err := a.netnsRecords(cmd.Context())
			if err != nil {
				return err
			}
			names, err := netns.List()
			if err != nil {
				return err
			}
			all := []netnsJSON{}
			var rows [][]string
			for _, ref := range append([]string{""}, names...) {
				n, err := records.look(ref)
				if errors.Is(err, fs.ErrNotExist) {
					continue // gone since
				}
				if err != nil {
					return err
				}
				if ref != "" {
					n.Name = ref // one namespace may have several names
				}
				all = append(all, n)
				rows = append(rows, []string{nameOrHost(n.Name), n.Mode.String(), yes(n.Ours), strings.Join(n.Machines, ","), n.ID.String()})
			}
			return a.print(report{
				data: all,
				head: []string{"NAME", "MODE", "OURS", "MACHINES", "ID"},
				wide: 1,
				rows: rows,
				name: func(i int) string { return all[i].Name },
			})
		},
	}
}

func nameOrHost(name string) string {
	if name == "" {
		return "(host)"
	}
	return name
}
