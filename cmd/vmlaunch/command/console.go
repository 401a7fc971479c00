package command

import (
	"io"
	"os"

	"github.com/spf13/cobra"
)

// consoleTail is how many lines of what was printed before are shown: the prompt and
// what led to it.
const consoleTail = 10

func newConsole(a *app) *cobra.Command {
	var tail int
	cmd := &cobra.Command{
		Use:   "console NAME",
		Short: "Attach to a machine's serial console; ~. at a line's start detaches",
		Long: `Shows the last lines that the machine NAME printed on its serial console, and attaches to
it: what is typed goes there, Ctrl-C too. ~. at the start of a line detaches, and the machine
goes on; so does the end of vmlaunch itself. A second one waits until the first detaches.`,
		Args:              oneName,
		ValidArgsFunction: a.machineNames(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			if tail < -1 {
				return usagef("--tail %d: want 0 or more lines, or -1 for all", tail)
			}
			l, err := a.launcher(cmd.Context())
			if err != nil {
				return err
			}
			conn, err := l.Console(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if _, tty := terminal(a.host.In); tty {
				a.note("attached to %s; detach with ~. at the start of a line", args[0])
			}
			// Behind the connection: what is printed meanwhile may be shown twice, and is
			// not missed.
			if err := showTail(a.host.Out, l.Logs(args[0]).Console, tail); err != nil {
				conn.Close()
				return err
			}
			return attach(cmd.Context(), conn, a.host.In, a.host.Out)
		},
	}
	cmd.Flags().IntVar(&tail, "tail", consoleTail, "show the last `N` lines that were printed before; -1 for all")
	return cmd
}

// showTail writes the last n lines of a log as they are now.
func showTail(w io.Writer, path string, n int) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := toTail(f, n); err != nil {
		return err
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	_, err = io.CopyN(w, f, info.Size()-at)
	return err
}
