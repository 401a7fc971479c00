package command

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/launcher"
)

func newPortForward(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "port-forward NAME LISTEN:TARGET…",
		Aliases: []string{"pf"},
		Short:   "Let ports of this host lead into a machine, until Ctrl-C",
		Long: `Listens on this host and passes each connection on into the machine NAME, over vsock:
no network in the guest is needed. It ends with Ctrl-C, or with the machine. A guest that
restarts in the meantime is reached again when it is back.

LISTEN is PORT, HOST:PORT or unix:PATH; without a HOST it is 127.0.0.1, and an empty
PORT is chosen by the system and printed. TARGET is PORT, tcp:HOST:PORT or unix:PATH as
the guest sees it, or vsock:PORT for what listens on vsock there. An IPv6 address stands in
brackets; in a PATH a colon is written \\: and a backslash \\\\.

Ports that are to be there for as long as a machine runs are given to up, as --publish.`,
		Example: `  vmlaunch port-forward web 8080:80
  vmlaunch port-forward web :5432 unix:./docker.sock:unix:/run/docker.sock
  vmlaunch port-forward web 9000:vsock:1024`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usagef("%s: want a machine NAME and what to forward, as 8080:80", cmd.Name())
			}
			if err := validNames(args[:1]); err != nil {
				return err
			}
			_, err := parseForwards(args[1:])
			return err
		},
		ValidArgsFunction: a.machineNames(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			forwards, err := parseForwards(args[1:])
			if err != nil {
				return err
			}
			return a.portForward(cmd.Context(), args[0], forwards)
		},
	}
}

func (a *app) portForward(ctx context.Context, name string, forwards []configs.Forward) error {
	l, err := a.launcher(ctx)
	if err != nil {
		return err
	}
	r, err := l.Route(ctx, name)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := r.Check(ctx); err != nil {
		return err
	}
	var all []launcher.Forwarding
	for _, f := range forwards {
		one, err := launcher.Listen(ctx, f)
		if err != nil {
			for _, open := range all {
				open.Listener.Close()
			}
			return fmt.Errorf("machine %q: %w", name, err)
		}
		all = append(all, one)
	}
	for _, f := range all {
		a.tell("%s leads to %s of %s", f.Listen, targetOf(f.Forward), name)
	}
	return a.serve(ctx, r, name, all)
}

// serve passes connections on until ctx or the machine ends.
func (a *app) serve(ctx context.Context, r *launcher.Route, name string, all []launcher.Forwarding) error {
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if r.Wait(ctx) == nil {
			cancel(fmt.Errorf("machine %q: %w", name, launcher.ErrEnded))
		}
	}()
	defer func() { cancel(nil); <-ended }()
	err := r.Serve(ctx, all, func(text string) { a.note("vmlaunch: %s", text) })
	if errors.Is(context.Cause(ctx), launcher.ErrEnded) {
		return context.Cause(ctx)
	}
	if ctx.Err() != nil {
		return exitStatus(Interrupted) // it is how people end it
	}
	return err
}

// portLines says where the declared ports of a machine are, a line each.
func portLines(l *launcher.Launcher, name string) []string {
	var lines []string
	for _, served := range l.Ports(name) {
		if f, err := configs.ParseForward(served); err == nil { // we wrote it
			lines = append(lines, fmt.Sprintf("%s leads to %s of %s", f.Listen, targetOf(f), name))
		}
	}
	return lines
}

// targetOf says where a forward leads.
func targetOf(f configs.Forward) string {
	if f.Target.Network == configs.NetworkTCP && f.Target.Host == configs.GuestLocalhost {
		return fmt.Sprintf("port %d", f.Target.Port)
	}
	return f.Target.String()
}

// parseForwards reads LISTEN:TARGET words, all mistakes at once, and makes paths of
// this host absolute. It fails with [ErrUsage].
func parseForwards(words []string) ([]configs.Forward, error) {
	var forwards []configs.Forward
	var errs []error
	for _, w := range words {
		f, err := configs.ParseForward(w)
		if err == nil && f.Listen.Network == configs.NetworkUnix {
			f.Listen.Path, err = filepath.Abs(f.Listen.Path)
		}
		if err != nil {
			errs = append(errs, usagef("port %q: %w", w, err))
			continue
		}
		forwards = append(forwards, f)
	}
	return forwards, errors.Join(errs...)
}

// newServePorts is what a launch starts to serve the ports of a machine.
func newServePorts(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    launcher.ServePortsVerb + " NAME UUID",
		Short:  "Serve the ports of a machine; a launch starts it",
		Hidden: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("%s: is started by vmlaunch itself (see --publish)", cmd.Name())
			}
			return validNames(args[:1])
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := a.bareLauncher()
			if err != nil {
				return err
			}
			return l.ServePorts(cmd.Context(), args[0], args[1], func(text string) { a.note("%s", text) })
		},
	}
}
