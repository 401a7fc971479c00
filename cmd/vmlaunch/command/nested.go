package command

import (
	"context"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/guest"
)

// insideNestEnv tells vmlaunch that it runs in a nest already, so that the same
// command line, --nest included, means the same there.
const insideNestEnv = "VMLAUNCH_INSIDE_NEST"

// insideNest reports whether this host is a nest.
func (a *app) insideNest() bool { return a.host.Getenv(insideNestEnv) != "" }

// runNested does this command in the nest, with the same words. Its exit code
// becomes ours.
func (a *app) runNested(cmd *cobra.Command, args []string) error {
	words := 0
	if flagsEndAtName(cmd) {
		words = len(args)
	}
	_, in := terminal(a.host.In)
	_, out := terminal(a.host.Out)
	exit, err := a.inNest(cmd.Context(), guest.Command{
		Args: append([]string{"vmlaunch"}, withoutRoot(a.args, words)...),
		TTY:  in && out,
	})
	if err == nil && exit != 0 {
		return exitStatus(exit)
	}
	return err
}

// withoutRoot returns args without --root DIR: it says where this host keeps the
// nest, and the nest has folders of its own. The last words are not looked at,
// nor is what follows a --: they belong to the command that is to be run.
func withoutRoot(args []string, words int) []string {
	ours := len(args) - words
	var kept []string
	for i := 0; i < ours; i++ {
		switch {
		case args[i] == "--":
			return append(kept, args[i:]...)
		case args[i] == "--root":
			i++
		case !strings.HasPrefix(args[i], "--root="):
			kept = append(kept, args[i])
		}
	}
	return append(kept, args[ours:]...)
}

// inNest brings the nest up and runs c in it, connected to our streams.
func (a *app) inNest(ctx context.Context, c guest.Command) (exit int, err error) {
	n, err := a.nestUp(ctx, nestWish{})
	if err != nil {
		return 0, err
	}
	c.Env = append(c.Env, insideNestEnv+"=1")
	for _, name := range []string{"NO_COLOR", "VMLAUNCH_TEST_KILL_AT"} {
		if v := a.host.Getenv(name); v != "" {
			c.Env = append(c.Env, name+"="+v)
		}
	}
	return n.Run(ctx, a.streams(c))
}

// executable is the path of the running vmlaunch, for the copy of it in a nest.
// It fails only where the system can't tell.
func executable() (string, error) { return os.Executable() }
