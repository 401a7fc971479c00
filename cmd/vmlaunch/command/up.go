package command

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

type upOptions struct {
	machine machineFlags
	detach  bool
	dryRun  bool
}

func newUp(a *app) *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:   "up [NAME]",
		Short: "Bring a machine up and wait until its guest is ready",
		Long: `Brings up the machine NAME (default dev): makes it if there is none, starts it if
it is stopped, and says so if it runs already. Ends when the guest is ready.

A machine that exists keeps what it was made with. Flags that say something else
about it are refused, with what differs (exit code 4).`,
		Args:              atMostOneName,
		ValidArgsFunction: a.machineNames(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, a, nameOrDefault(args))
		},
	}
	o.machine.add(cmd)
	cmd.Flags().BoolVarP(&o.detach, "detach", "d", false, "do not wait for the guest to be ready")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "print QEMU's command line and change nothing")
	return cmd
}

func (o *upOptions) run(cmd *cobra.Command, a *app, name string) error {
	spec, err := o.machine.blueprint(cmd, name)
	if err != nil {
		return err
	}
	if spec, err = a.pulled(cmd.Context(), spec); err != nil {
		return err
	}
	l, err := a.launcher(cmd.Context())
	if err != nil {
		return err
	}
	if o.dryRun {
		line, err := l.CommandLine(cmd.Context(), spec)
		if err != nil {
			return err
		}
		fmt.Fprintln(a.host.Out, shellWords(line))
		return nil
	}
	before, _ := l.Inspect(cmd.Context(), name) // no machine yet is one answer of several
	m, err := l.Up(cmd.Context(), spec, detached(o.detach)...)
	if err != nil {
		return err
	}
	a.tell("%s %s, cid %d in %s", m.Name, upState(o.detach, before.QEMU == m.QEMU, m.Spec.Awaited()), m.CID, where(m.Netns))
	return nil
}

// upState says what up found or did.
func upState(detach, same, awaited bool) string {
	switch {
	case same:
		return "is running already"
	case detach:
		return "is starting"
	case !awaited:
		return "runs (nobody waits until it is ready: --ready none)"
	}
	return "is ready"
}

// shellWords writes a command line so that it can be pasted into a shell.
func shellWords(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		if w == "" || strings.ContainsAny(w, " \t\n\"'`$&|;<>()*?[]#~!{}\\") {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		quoted[i] = w
	}
	return strings.Join(quoted, " ")
}
