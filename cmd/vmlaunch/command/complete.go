package command

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
)

// completion is how cobra asks for words.
type completion = func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective)

// complete gives a flag its values. It panics on an unknown flag, which is a
// mistake in the tree that any test finds.
func complete(cmd *cobra.Command, flag string, values ...string) {
	completeWith(cmd, flag, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return values, cobra.ShellCompDirectiveNoFileComp
	})
}

func completeWith(cmd *cobra.Command, flag string, fn completion) {
	if err := cmd.RegisterFlagCompletionFunc(flag, fn); err != nil {
		panic(err)
	}
}

// machineNames completes names of machines: the first word only, or, with
// many, each one not given yet.
func (a *app) machineNames(many bool) completion {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 && !many {
			return nil, cobra.ShellCompDirectiveDefault
		}
		var names []string
		s, err := a.store()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp // a shell has no place for an error
		}
		_ = s.View(cmd.Context(), func(tx *store.Tx) error {
			machines, err := tx.Machines()
			for _, m := range machines {
				names = append(names, m.Name)
			}
			return err
		})
		return unused(names, args, begun), cobra.ShellCompDirectiveNoFileComp
	}
}

// namespaceNames completes names of pinned namespaces.
func namespaceNames(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	names, err := netns.List()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return unused(names, nil, begun), cobra.ShellCompDirectiveNoFileComp
}

// noCompletion offers nothing, and no file names either.
func noCompletion(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}

func unused(names, args []string, begun string) []string {
	var kept []string
next:
	for _, n := range names {
		for _, used := range args {
			if n == used {
				continue next
			}
		}
		if strings.HasPrefix(n, begun) {
			kept = append(kept, n)
		}
	}
	return kept
}
