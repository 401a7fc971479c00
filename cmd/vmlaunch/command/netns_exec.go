package command

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/netns"
)

func newNetnsExec(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec NS [--] COMMAND [ARG…]",
		Short: "Run a command of the host in a namespace (name, path, pid:N or container:NAME)",
		Long: `Becomes COMMAND, inside the network namespace NS. Only the network namespace
changes: unlike ip netns exec, mounts stay as they are.`,
		ValidArgsFunction: namespaceNames,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || len(behindName(args)) == 0 {
				return usagef("netns exec: want NS and a command")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			return passThrough(0, become(args[0], behindName(args)))
		},
	}
	endFlagsAtName(cmd)
	return cmd
}

// become replaces this process by a program in the namespace ref, so that
// signals, terminal and exit code need nobody in between. It returns only if
// that fails.
func become(ref string, words []string) error {
	path, err := exec.LookPath(words[0])
	if err != nil {
		return fmt.Errorf("run %q: %w", words[0], errors.Unwrap(err))
	}
	ns, err := netns.Open(ref)
	if err != nil {
		return err
	}
	defer ns.Close()
	return ns.Do(func() error {
		// The kernel makes the calling thread the new process, in the
		// namespace it is in.
		return fmt.Errorf("run %s: %w", path, syscall.Exec(path, words, os.Environ()))
	})
}
