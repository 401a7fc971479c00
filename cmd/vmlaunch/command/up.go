package command

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

type upOptions struct {
	machine machineFlags
	lab     labOptions
	detach  bool
	dryRun  bool
}

func newUp(a *app) *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:   "up [NAME…]",
		Short: "Bring a machine up, or what vmlaunch.yaml declares, and wait until guests are ready",
		Long: `Brings up the machine NAME (default dev): makes it if there is none, starts it if
it is stopped, and says so if it runs already. Ends when the guest is ready.

With a file, or where there is a vmlaunch.yaml and no flag describes a machine,
brings up the lab that it declares: its namespaces, and its machines, or those
called NAME with what they depend on. What is as it should be stays, what differs
is made anew. If some machines fail the rest stay up (exit code 10); up again does
what is missing.

A machine that exists keeps what it was made with. Flags that say something else
about it are refused, with what differs (exit code 4).`,
		Args:              anyNames,
		ValidArgsFunction: a.machineNames(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			about, err := o.aboutLab(cmd)
			if err != nil {
				return err
			}
			if about {
				o.lab.detach, o.lab.timeout = o.detach, o.machine.timeout
				return o.lab.up(cmd.Context(), a, args)
			}
			if err := atMostOneName(cmd, args); err != nil {
				return err
			}
			return o.run(cmd, a, nameOrDefault(args))
		},
	}
	o.lab.add(cmd)
	cmd.Flags().IntVar(&o.lab.parallel, "parallel", 0, "at most `N` machines of a lab at once (default four for each processor; fewer while the host is short of something)")
	cmd.Flags().BoolVar(&o.lab.orphans, "remove-orphans", false, "remove machines of the lab that its file has no more")
	o.machine.add(cmd)
	cmd.Flags().BoolVarP(&o.detach, "detach", "d", false, "do not wait for the guest to be ready")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "print QEMU's command line and change nothing")
	return cmd
}

// aboutLab reports whether the command line is about a lab. It fails with
// [ErrUsage] if it is about a lab and describes a machine as well.
func (o *upOptions) aboutLab(cmd *cobra.Command) (bool, error) {
	var said string
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Name != "timeout" && o.machine.flags[f.Name] || f.Name == "dry-run" {
			said = f.Name
		}
	})
	asked := o.lab.asked(cmd) || cmd.Flags().Changed("parallel") || cmd.Flags().Changed("remove-orphans")
	if asked && said != "" {
		return false, eitherWay("--" + said)
	}
	return asked || said == "" && o.lab.there(), nil
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
	for _, line := range portLines(l, m.Name) {
		a.tell("%s", line)
	}
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
