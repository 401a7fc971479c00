package command

import (
	"context"
	"os"

	"github.com/vmlaunch/vmlaunch/guest"
)

// insideNestEnv tells vmlaunch that it runs in a nest already, so that the same
// command line, --nest included, means the same there.
const insideNestEnv = "VMLAUNCH_INSIDE_NEST"

// insideNest reports whether this host is a nest.
func (a *app) insideNest() bool { return a.host.Getenv(insideNestEnv) != "" }

// runNested does this command in the nest, with the same words. Its exit code
// becomes ours.
func (a *app) runNested(ctx context.Context) error {
	_, in := terminal(a.host.In)
	_, out := terminal(a.host.Out)
	exit, err := a.inNest(ctx, guest.Command{
		Args: append([]string{"vmlaunch"}, a.args...),
		TTY:  in && out,
	})
	if err == nil && exit != 0 {
		return exitStatus(exit)
	}
	return err
}

// inNest brings the nest up and runs c in it, connected to our streams.
func (a *app) inNest(ctx context.Context, c guest.Command) (exit int, err error) {
	n, err := a.nestUp(ctx, nestSize{})
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
