package command

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/cidalloc"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

func newCID(a *app) *cobra.Command {
	return group("cid", "The ledger: which CID is whose, in which space",
		newCIDLs(a), newCIDCheck(a), newCIDWho(a), newCIDReserve(a), newCIDRelease(a))
}

// oneCID asks for one CID that a guest can have.
func oneCID(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usagef("%s: want one CID, got %d words", cmd.CommandPath(), len(args))
	}
	_, err := vsock.ParseCID(args[0])
	return err
}

// netnsFlag adds the flag that says in which namespace a CID is meant.
func netnsFlag(cmd *cobra.Command, ref *string) {
	cmd.Flags().StringVar(ref, "netns", "", "as seen from network namespace `NS`: a name, a path, pid:N or container:NAME (default: this one)")
	completeWith(cmd, "netns", namespaceNames)
}

// withLedger runs fn with the allocator, after the records were put right, and
// with the open namespace ref.
func (a *app) withLedger(ctx context.Context, ref string, fn func(*cidalloc.Allocator, *netns.NS) error) error {
	ref, err := absolute(ref)
	if err != nil {
		return err
	}
	ns, err := netns.Open(ref)
	if err != nil {
		return err
	}
	defer ns.Close()
	if _, err := a.launcher(ctx); err != nil {
		return err
	}
	alloc, err := a.allocator()
	if err != nil {
		return err
	}
	return fn(alloc, ns)
}

// look asks ledger and kernel about the CID that args name.
func (a *app) look(ctx context.Context, args []string, ref string) (s cidalloc.Status, err error) {
	c, err := vsock.ParseCID(args[0])
	if err != nil {
		return s, err
	}
	err = a.withLedger(ctx, ref, func(alloc *cidalloc.Allocator, ns *netns.NS) error {
		s, err = alloc.Look(ctx, ns, c)
		return err
	})
	return s, err
}

// forPrograms reports whether --output asks for data and not for words.
func (a *app) forPrograms() bool { return a.output != "table" && a.output != "wide" }
