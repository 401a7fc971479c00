package command

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/configs"
)

func newCp(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "cp SOURCE… TARGET",
		Short: "Copy files and folders into a machine or out of it",
		Long: `Copies between this host and one machine, over vsock: either all SOURCEs or the TARGET
are paths in the machine, as NAME:PATH. A path in a machine that is not absolute
begins at root's home. Folders are copied whole. Into a folder that exists a copy goes
under its own name; else TARGET is the name of the copy.

Modes, times and links are kept, holes too, into a machine only if its SSH server
knows SFTP. What comes from a machine stays inside TARGET and has no set-user-ID bits.
A path of this host with a colon in it is written ./a:b.`,
		Example: `  vmlaunch cp ./src web:/root
  vmlaunch cp web:/var/log/app.log web:/etc/app.conf ./`,
		Args: func(_ *cobra.Command, args []string) error {
			_, err := parseCopy(args)
			return err
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := parseCopy(args)
			if err != nil {
				return err
			}
			return c.run(cmd.Context(), a)
		},
	}
}

// A fileCopy is what one cp is to do.
type fileCopy struct {
	machine string
	out     bool // from the machine to this host
	sources []string
	target  string
}

// parseCopy reads the words of cp. It fails with [ErrUsage].
func parseCopy(args []string) (fileCopy, error) {
	if len(args) < 2 {
		return fileCopy{}, usagef("cp: want SOURCE… and TARGET, one of the sides as NAME:PATH")
	}
	last := len(args) - 1
	names, files := make([]string, len(args)), make([]string, len(args))
	for i, arg := range args {
		var err error
		if names[i], files[i], err = machinePath(arg); err != nil {
			return fileCopy{}, err
		}
	}
	c := fileCopy{machine: names[last], sources: files[:last], target: files[last]}
	if c.machine == "" {
		c.machine, c.out = names[0], true
	}
	for i, name := range names[:last] {
		switch {
		case name != "" && c.machine != "" && name != c.machine:
			return fileCopy{}, usagef("cp: %s and %s: want one machine (copy by way of this host)", name, c.machine)
		case (name != "") != c.out:
			return fileCopy{}, usagef("cp: %q: want either all sources or the target as NAME:PATH", args[i])
		}
	}
	return c, nil
}

// machinePath splits NAME:PATH. What has a slash before its first colon, or none,
// is a path of this host.
func machinePath(arg string) (name, file string, err error) {
	name, file, found := strings.Cut(arg, ":")
	if !found || strings.Contains(name, "/") {
		if arg == "" {
			return "", "", usagef("cp: a path is empty")
		}
		return "", arg, nil
	}
	if err := configs.ValidName(name); err != nil {
		return "", "", usagef("cp: machine %q: %w (a file of this host with a colon in its name is ./%s)", name, err, arg)
	}
	if file == "" {
		return "", "", usagef("cp: %q: want a path behind the colon (. is root's home)", arg)
	}
	return name, file, nil
}

func (c fileCopy) run(ctx context.Context, a *app) error {
	l, err := a.launcher(ctx)
	if err != nil {
		return err
	}
	client, err := l.Client(ctx, c.machine)
	if err != nil {
		return err
	}
	defer client.Close()
	if c.out {
		err = client.Get(ctx, c.target, c.sources...)
	} else {
		err = client.Put(ctx, c.target, c.sources...)
	}
	if err != nil {
		return fmt.Errorf("cp: machine %q: %w", c.machine, err)
	}
	return nil
}
