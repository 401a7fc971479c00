package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/launcher"
)

type execOptions struct {
	tty bool
	env []string
	dir string
	choice
}

func newExec(a *app) *cobra.Command {
	var o execOptions
	cmd := &cobra.Command{
		Use:   "exec [flags] NAME [--] COMMAND [ARG…]",
		Short: "Run a command in a machine; its exit code becomes ours",
		Long: `Runs a command in the machine NAME, over vsock, with standard input, output and
exit code passed through. Exit code 125 means that it could not be run. Flags
end at NAME: what follows belongs to the command.

With --lab or --all there is no NAME: it runs in all those machines at once, and
each line of what it prints begins with the machine's. If it fails in some of them
the exit code is 10.

A probe machine has no programs: the words are one line of its control protocol,
and its answer is printed; exit code 1 if that is ERR.`,
		Args:              o.args,
		ValidArgsFunction: a.machineNames(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.flagged() {
				return o.runAll(cmd, a, args)
			}
			return passThrough(o.run(cmd.Context(), a, args[0], behindName(args)))
		},
	}
	endFlagsAtName(cmd)
	cmd.Flags().BoolVarP(&o.tty, "tty", "t", false, "give the command a terminal")
	cmd.Flags().StringArrayVarP(&o.env, "env", "e", nil, "set `NAME=VALUE` for it; may be repeated")
	cmd.Flags().StringVarP(&o.dir, "workdir", "w", "", "run it in `DIR`")
	o.add(cmd)
	return cmd
}

// args asks for a name and a command, or for a command alone if flags choose.
func (o *execOptions) args(cmd *cobra.Command, args []string) error {
	switch {
	case o.all && o.lab != "":
		return usagef("exec: --all or --lab, not both")
	case !o.flagged():
		return nameAndCommand(cmd, args)
	case len(args) == 0:
		return usagef("exec: want a command")
	case o.tty:
		return usagef("exec: --tty is for one machine")
	}
	return nil
}

func (o *execOptions) run(ctx context.Context, a *app, name string, words []string) (exit int, err error) {
	l, err := a.launcher(ctx)
	if err != nil {
		return 0, err
	}
	v, err := l.Inspect(ctx, name)
	if err != nil {
		return 0, err
	}
	if v.Spec.Guest() == configs.GuestProbe {
		return askProbe(ctx, l, name, strings.Join(words, " "), a.host.Out)
	}
	return runInGuest(ctx, a, l, name, a.streams(o.command(words)))
}

func (o *execOptions) command(words []string) guest.Command {
	return guest.Command{Args: words, Env: o.env, Dir: o.dir, TTY: o.tty}
}

// streams connects a command in a guest to what vmlaunch was given, the
// terminal included if it wants one.
func (a *app) streams(c guest.Command) guest.Command {
	c.Stdin, c.Stdout, c.Stderr = a.host.In, a.host.Out, a.host.Err
	if c.TTY {
		c.Term = a.host.Getenv("TERM")
		c.Terminal, _ = terminalIn(a.host.In)
	}
	return c
}

func runInGuest(ctx context.Context, a *app, l *launcher.Launcher, name string, c guest.Command) (exit int, err error) {
	client, err := l.Client(ctx, name)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	a.progress.Done()
	return client.Run(ctx, c)
}

// askProbe sends one line to a probe and prints its answer. A refusal is exit
// code 1: the guest's answer, not our failure.
func askProbe(ctx context.Context, l *launcher.Launcher, name, line string, out io.Writer) (exit int, err error) {
	p, err := l.Probe(ctx, name)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	answer, err := p.Do(ctx, line)
	if _, refused := errors.AsType[*guest.AnswerError](err); refused {
		exit, err = 1, nil
	}
	if err != nil {
		return 0, err
	}
	_, err = fmt.Fprintln(out, answer)
	return exit, err
}

func terminalIn(in io.Reader) (*os.File, bool) {
	if f, ok := terminal(in); ok {
		return f, true
	}
	return nil, false
}
