package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
)

func newNetnsRm(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "rm NAME…",
		Short:             "Remove namespaces; machines in them are refused",
		ValidArgsFunction: namespaceNames,
		Args:              someNetns,
		RunE: func(cmd *cobra.Command, names []string) error {
			if _, err := a.launcher(cmd.Context()); err != nil { // machines that are gone don't count
				return err
			}
			return forEach(names, func(name string) error {
				if err := removeNetns(cmd.Context(), a, name); err != nil {
					return err
				}
				a.tell("netns %s removed", name)
				return nil
			})
		},
	}
}

// removeNetns takes the name off a namespace and forgets it. It fails with
// [fs.ErrExist] while a machine lives there.
func removeNetns(ctx context.Context, a *app, name string) error {
	records, err := a.netnsRecords(ctx)
	if err != nil {
		return err
	}
	s, err := a.store()
	if err != nil {
		return err
	}
	n, err := records.look(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(n.Machines) > 0 {
		return &inUseError{name, n.Machines}
	}
	gone := netns.Remove(name)
	if gone != nil && !errors.Is(gone, fs.ErrNotExist) {
		return gone
	}
	// A record without a namespace, after a reboot say, is removed as well.
	_, recorded := records.made[name]
	if !recorded {
		return gone
	}
	return s.Update(ctx, func(tx *store.Tx) error { return tx.DeleteNetns(name) })
}

// An inUseError says that machines live in a namespace. It is a kind of
// [fs.ErrExist].
type inUseError struct {
	netns    string
	machines []string
}

func (e *inUseError) Error() string {
	return fmt.Sprintf("remove netns %q: in use by machine %s (remove it first: vmlaunch down %s)",
		e.netns, strings.Join(e.machines, ", "), strings.Join(e.machines, " "))
}

func (e *inUseError) Is(target error) bool { return target == fs.ErrExist }
