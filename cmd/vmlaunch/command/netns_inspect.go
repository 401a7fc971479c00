package command

import (
	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/netns"
)

func newNetnsInspect(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "inspect NS",
		Short:             "Everything about a namespace (name, path, pid:N or container:NAME), as JSON",
		ValidArgsFunction: namespaceNames,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("netns inspect: want one namespace (a name, a path, pid:N or container:NAME)")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			records, err := a.netnsRecords(cmd.Context())
			if err != nil {
				return err
			}
			n, err := records.look(args[0])
			if err != nil {
				return err
			}
			ns, err := netns.Open(args[0])
			if err != nil {
				return err
			}
			defer ns.Close()
			if n.Procs, err = ns.Processes(); err != nil {
				return err
			}
			return a.printJSON(n)
		},
	}
}
