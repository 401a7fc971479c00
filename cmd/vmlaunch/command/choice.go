package command

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/lab"
	"github.com/vmlaunch/vmlaunch/launcher"
)

// atOnce is how many machines a verb is done to at once: most of it is waiting
// for guests and for QEMU.
const atOnce = 16

// A choice is which machines a verb is about: those named, those of a lab with
// all its copies, or all there are.
type choice struct {
	lab string
	all bool
}

func (c *choice) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&c.lab, "lab", "p", "", "all machines of the lab `NAME` and of its copies")
	cmd.Flags().BoolVar(&c.all, "all", false, "all machines")
}

// flagged reports whether flags choose, not names.
func (c *choice) flagged() bool { return c.all || c.lab != "" }

// args asks for names, or for one of the flags.
func (c *choice) args(cmd *cobra.Command, args []string) error {
	switch {
	case c.all && c.lab != "":
		return usagef("%s: --all or --lab, not both", cmd.Name())
	case c.flagged() && len(args) > 0:
		return usagef("%s: machines by NAME, or --lab or --all, not both", cmd.Name())
	case c.flagged():
		return nil
	}
	return someNames(cmd, args)
}

// names returns the machines that are chosen. It fails with [fs.ErrNotExist] if
// the flags choose none.
func (c *choice) names(ctx context.Context, l *launcher.Launcher, args []string) ([]string, error) {
	if !c.flagged() {
		return args, nil
	}
	views, err := l.Machines(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, v := range views {
		if c.has(v) {
			names = append(names, v.Name)
		}
	}
	if len(names) == 0 && c.lab != "" {
		return nil, fmt.Errorf("lab %q: no machine of it: %w", c.lab, fs.ErrNotExist)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no machine: %w (vmlaunch up makes one)", fs.ErrNotExist)
	}
	return names, nil
}

// has reports whether the flags choose v.
func (c *choice) has(v launcher.View) bool { return c.all || lab.IsCopyOf(v.Spec.Lab, c.lab) }

// each does a verb to each machine that is chosen, several at once.
func (c *choice) each(cmd *cobra.Command, a *app, args []string, verb func(ctx context.Context, l *launcher.Launcher, name string) error) error {
	ctx := cmd.Context()
	l, err := a.launcher(ctx)
	if err != nil {
		return err
	}
	names, err := c.names(ctx, l, args)
	if err != nil {
		return err
	}
	return forEach(ctx, names, func(ctx context.Context, name string) error { return verb(ctx, l, name) })
}

// longest returns the length of the longest name, in bytes.
func longest(names []string) int {
	width := 0
	for _, n := range names {
		width = max(width, len(n))
	}
	return width
}

// prefixed returns what a line of the machine called name begins with among those
// of others; width is that of the longest name.
func prefixed(name string, width int) string {
	return name + strings.Repeat(" ", max(width-len(name), 0)) + " | "
}
