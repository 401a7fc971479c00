package command

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// doctorJSON is what `doctor` prints.
type doctorJSON struct {
	Able   bool    `json:"able"` // machines with vsock can run here
	Checks []check `json:"checks"`
}

// A check is one thing the host has or lacks.
type check struct {
	Name   string `json:"name"`
	Result result `json:"result"`
	Found  string `json:"found"`            // what was seen
	Remedy string `json:"remedy,omitempty"` // what to do about it
}

// String returns what was found, with the way out.
func (c check) String() string {
	if c.Remedy == "" {
		return c.Found
	}
	return c.Found + " (" + c.Remedy + ")"
}

// A result is how a check came out.
type result string

const (
	good    result = "ok"
	limited result = "limited" // something can't be done, machines can run
	missing result = "missing" // machines with vsock can't run
)

// inANest is the remedy for what only another kernel has.
const inANest = "vmlaunch --nest COMMAND does it in a Linux of its own"

func newDoctor(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "What this host can do, and how to get what it lacks",
		Long: `Looks at this host and says what vmlaunch can do on it. Exit code 6 means that no
machine with vsock can run here. Nothing is changed, except that kernel modules
may be loaded and a trial guest is run for a moment.`,
		Args:              noArgs,
		ValidArgsFunction: noCompletion,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := doctorJSON{Able: true, Checks: a.examine(cmd.Context())}
			rows := make([][]string, len(d.Checks))
			var lacks []string
			for i, c := range d.Checks {
				rows[i] = []string{c.Name, string(c.Result), c.Found, c.Remedy}
				if c.Result == missing {
					lacks = append(lacks, c.String())
				}
			}
			d.Able = len(lacks) == 0
			if !a.quiet {
				err := a.print(report{data: d, head: []string{"CHECK", "RESULT", "FOUND", "REMEDY"}, rows: rows})
				if err != nil {
					return err
				}
			}
			if !d.Able {
				return fmt.Errorf("this host can't run machines with vsock: %s%w", strings.Join(lacks, "; "), wordless{errors.ErrUnsupported})
			}
			return nil
		},
	}
}

// wordless is a kind of error without its words, for a message that has said it
// better.
type wordless struct{ error }

func (wordless) Error() string   { return "" }
func (w wordless) Unwrap() error { return w.error }
