package command

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/internal/undo"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

func newNetnsCreate(a *app) *cobra.Command {
	var mode string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a namespace with a vsock mode",
		Long: `Makes the network namespace NAME, as ip netns add does, with a vsock mode of its
own: local has CIDs to itself, global shares one space with the host. The mode is
fixed for the life of the namespace.`,
		Example:           "  vmlaunch netns create lab1 --vsock local",
		ValidArgsFunction: noCompletion,
		Args:              oneNetns,
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := vsock.ParseMode(mode)
			if err != nil {
				return err
			}
			s, err := a.store()
			if err != nil {
				return err
			}
			if err := createNetns(cmd.Context(), s, args[0], m); err != nil {
				return err
			}
			a.tell("netns %s made, vsock mode %s", args[0], m)
			return nil
		},
	}
	cmd.Flags().StringVar(&mode, "vsock", "local", "vsock `MODE`: local or global")
	complete(cmd, "vsock", "local", "global")
	return cmd
}

// createNetns makes a namespace and records that it is ours. On failure nothing
// is left behind.
func createNetns(ctx context.Context, s *store.Store, name string, m vsock.Mode) (err error) {
	var back undo.Stack
	defer func() { back.Unwind(ctx, &err) }()
	ns, err := netns.Create(name, m)
	if err != nil {
		return err
	}
	defer ns.Close()
	back.Push("netns", func(context.Context) error { return netns.Remove(name) })
	err = s.Update(ctx, func(tx *store.Tx) error {
		return tx.PutNetns(store.Netns{Name: name, ID: ns.ID(), Mode: m, Created: time.Now()})
	})
	if err != nil {
		return err
	}
	back.Keep()
	return nil
}
