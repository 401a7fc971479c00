// Package command is the command line of vmlaunch: a tree of verbs built by
// constructors, one file a verb. A verb is flags, one call of a library, and
// what is printed.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/nest"
	"github.com/vmlaunch/vmlaunch/store"
)

// suggestionDistance is how many letters may be wrong in a command for another
// one to be suggested.
const suggestionDistance = 2

// A Host is what a command has from outside: its streams, its environment and
// the version it was built as.
type Host struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string
	Version  string
}

// Run runs vmlaunch with args, the program's name not among them, and returns
// the exit code. An error is printed once, on h.Err. Cancelling ctx is what
// Ctrl-C does: the command takes back what it had not finished.
func Run(ctx context.Context, h Host, args ...string) Code {
	a := &app{host: h, args: args}
	root := newRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	a.progress.Done()
	return a.finish(ctx, err)
}

// finish prints err, once, and returns the exit code.
func (a *app) finish(ctx context.Context, err error) Code {
	if err == nil {
		return OK
	}
	if !a.started {
		err = &usageError{err} // cobra's own errors are plain text, all about the command line
	}
	if errors.Is(err, store.ErrCorrupt) {
		err = fmt.Errorf("%w (vmlaunch repair)", err)
	}
	if _, silent := errors.AsType[exitStatus](err); !silent {
		fmt.Fprintf(a.host.Err, "vmlaunch: %s\n", harmless(err.Error()))
	}
	if ctx.Err() != nil {
		return Interrupted // whatever broke off, this is why
	}
	return Of(err)
}

// newRoot builds the whole tree. Nothing in it is shared with another tree.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:                        "vmlaunch COMMAND",
		Short:                      "QEMU machines with the vsock namespace you choose",
		Long:                       longRoot,
		Version:                    a.host.Version,
		Args:                       noVerb,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceUsage:               true,
		SilenceErrors:              true,
		SuggestionsMinimumDistance: suggestionDistance,
	}
	cobra.EnableCommandSorting = false // the order below is by use, not by letter
	root.SetUsageTemplate(usageTemplate(root.UsageTemplate()))
	root.SetVersionTemplate("vmlaunch {{.Version}}\n")
	root.SetIn(a.host.In)
	root.SetOut(a.host.Out)
	root.SetErr(a.host.Err)
	root.AddGroup(&cobra.Group{ID: "machines", Title: "Machines:"}, &cobra.Group{ID: "labs", Title: "Labs, from vmlaunch.yaml:"}, &cobra.Group{ID: "guests", Title: "Into a machine:"},
		&cobra.Group{ID: "host", Title: "The host:"})
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
		}
		root.AddCommand(cmds...)
	}
	add("machines", newUp(a), newDown(a), newRun(a), newLs(a), newInspect(a), newWait(a), newStart(a), newStop(a),
		newRestart(a), newPause(a), newResume(a), newKill(a), newRm(a), newSnapshot(a), newSystemdUnit(a))
	add("labs", newPlan(a), newConfig(a), newValidate(a), newScenario(a))
	add("guests", newExec(a), newShell(a), newCp(a), newPortForward(a), newConsole(a), newLogs(a), newSSHConfig(a), newProxy(a), newQMP(a))
	add("host", newNetns(a), newCID(a), newRepair(a), newState(a), newImage(a), newNest(a), newDoctor(a), newVersion(a), newCompletion())
	root.AddCommand(newServePorts(a))
	root.SetHelpCommand(newHelp(root))
	root.CompletionOptions.DisableDefaultCmd = true
	a.globals(root)
	wrap(a, root)
	return root
}

const longRoot = `vmlaunch starts QEMU machines whose vsock lives in the network namespace you
choose, gives each a CID that is right there, and reaches it by name ever after.`

// usageTemplate changes cobra's template in two places: a command that only
// holds others has no usage of its own, and the root tells the exit codes.
func usageTemplate(cobras string) string {
	return strings.Replace(cobras, "{{if .Runnable}}", "{{if and .Runnable (not .HasAvailableSubCommands)}}", 1) +
		"{{if not .HasParent}}\n" + exitHelp() + "\n{{end}}"
}

// exitHelp lists the exit codes.
func exitHelp() string {
	var b strings.Builder
	b.WriteString("Exit codes:")
	for _, m := range meanings() {
		fmt.Fprintf(&b, "\n  %-3s  %s", m.code, strings.ReplaceAll(m.text, "`", ""))
	}
	return b.String()
}

// globals adds the flags that every command has. They mean the same everywhere.
func (a *app) globals(root *cobra.Command) {
	f := root.PersistentFlags()
	f.SortFlags = false
	f.StringVar(&a.root, "root", "", "keep state, run and cache folders and config.yaml below `DIR` instead of the system's")
	f.BoolVar(&a.nest, "nest", false, "run this command in the nest, a Linux >= 7.0 host of its own (see vmlaunch nest)")
	f.StringVar(&a.kernelVersion, "kernel-version", "", "the nest's Linux `VERSION` (default "+nest.Kernels()[0]+"); each has a nest of its own")
	f.StringVarP(&a.output, "output", "o", "table", "print as `FORMAT`: table, wide, json, yaml, template=TEXT (fields by their JSON names)")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "no progress; lists print names only")
	f.StringVar(&a.progressMode, "progress", "auto", "progress on stderr: auto (only on a terminal), plain (a line a step) or none")
	complete(root, "output", formats()...)
	complete(root, "progress", "auto", "plain", "none")
	complete(root, "kernel-version", nest.Kernels()...)
}

// wrap puts around every command what all of them do first.
func wrap(a *app, cmd *cobra.Command) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if err := a.checkGlobals(cmd); err != nil {
				return err
			}
			a.started = true
			if a.nest && !a.insideNest() {
				if aboutNest(cmd) {
					return usagef("%s is about the nest itself (leave out --nest)", cmd.CommandPath())
				}
				return a.runNested(cmd, args)
			}
			return run(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		wrap(a, sub)
	}
}

func newHelp(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about a command",
		Args:  cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err == nil && len(rest) > 0 {
				err = noVerb(cmd, rest)
			}
			if err != nil {
				return &usageError{err}
			}
			return cmd.Help()
		},
	}
}
