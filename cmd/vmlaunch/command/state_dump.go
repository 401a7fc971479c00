package command

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/store"
)

// dumpJSON is the content of the state file. docs/STATE.md tells what the fields
// of its records mean.
type dumpJSON struct {
	Schema   uint32          `json:"schema"`
	Machines []store.Machine `json:"machines"`
	Netnses  []store.Netns   `json:"netns"`
	Leases   []store.Lease   `json:"leases"`
}

func newStateDump(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "dump",
		Short:             "All that the state file says, as JSON; of a damaged one what can still be read",
		Args:              noArgs,
		ValidArgsFunction: noCompletion,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, sv, err := a.salvage(cmd)
			if err != nil {
				return err
			}
			err = a.printJSON(dumpJSON{
				Schema:   sv.Schema,
				Machines: append([]store.Machine{}, sv.Machines...), // a list is never null
				Netnses:  append([]store.Netns{}, sv.Netnses...),
				Leases:   append([]store.Lease{}, sv.Leases...),
			})
			return errors.Join(append([]error{err}, sv.Damage...)...)
		},
	}
}
