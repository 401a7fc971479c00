package command

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/scenario"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// ErrNotAsExpected says that a scenario did not show what it has to.
var ErrNotAsExpected = errors.New("not as expected")

func newScenario(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scenario",
		Short: "Play scenarios: steps on a lab, each with what it has to show",
		Args:  noVerb,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newScenarioLs(a), newScenarioRun(a), newScenarioValidate(a), newScenarioShow(a))
	return cmd
}

func newScenarioLs(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "ls",
		Short:             "List the scenarios that vmlaunch brings along",
		Args:              noArgs,
		ValidArgsFunction: noCompletion,
		RunE: func(*cobra.Command, []string) error {
			var all []configs.Scenario
			for _, name := range configs.Shipped(configs.ShippedScenario) {
				s, err := a.readScenario(name)
				if err != nil {
					return err
				}
				all = append(all, s)
			}
			rows := make([][]string, len(all))
			for i, s := range all {
				rows[i] = []string{s.Name, fmt.Sprint(len(s.Steps)), s.About}
			}
			return a.print(report{data: all, head: []string{"NAME", "STEPS", "ABOUT"}, rows: rows, name: func(i int) string { return all[i].Name }})
		},
	}
}

func newScenarioShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "show NAME",
		Short:             "Print the file of a scenario that vmlaunch brings along, to begin one's own with",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: scenarioNames,
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := configs.ShippedFile(configs.ShippedScenario, args[0])
			if err != nil {
				return err
			}
			_, err = a.host.Out.Write(f.Text)
			return err
		},
	}
}

func newScenarioValidate(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "validate NAME|FILE…",
		Short:             "Are scenario files right? All mistakes at once, with line and column",
		Args:              someScenarios,
		ValidArgsFunction: scenarioNames,
		RunE: func(_ *cobra.Command, args []string) error {
			var errs []error
			for _, ref := range args {
				s, err := a.readScenario(ref)
				if err == nil {
					a.tell("scenario %s: %d steps", s.Name, len(s.Steps))
				}
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		},
	}
}

func newScenarioRun(a *app) *cobra.Command {
	var form string
	cmd := &cobra.Command{
		Use:   "run NAME|FILE…",
		Short: "Play scenarios, each in a lab of its own, and report what was seen",
		Long: `Plays scenarios (with the word all: those that vmlaunch brings along for hosts like
this one), each in a lab of its own that is gone afterwards. Every step is reported
with what it had to show and what was seen. Exit code 12 if one did not show what it
has to, 6 if this host can't play one, which is never a pass.`,
		Args:              someScenarios,
		ValidArgsFunction: scenarioNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			writers := map[string]func(io.Writer, []scenario.Report) error{"tap": scenario.WriteTAP, "junit": scenario.WriteJUnit}
			if form != "" && writers[form] == nil {
				return usagef("--report %q: want tap or junit (JSON is -o json)", form)
			}
			all, err := a.readScenarios(args)
			if err != nil {
				return err
			}
			l, err := a.launcher(cmd.Context())
			if err != nil {
				return err
			}
			p := scenario.Player{Launcher: l, Said: a.progress.Say}
			reports := []scenario.Report{}
			var broken error
			for _, s := range all {
				r, err := p.Play(cmd.Context(), s)
				reports = append(reports, r)
				if broken = err; err != nil {
					break
				}
			}
			a.progress.Done()
			if form != "" {
				err = writers[form](a.host.Out, reports)
			} else if a.output == "table" || a.output == "wide" {
				err = writeScenarios(a.host.Out, reports)
			} else {
				err = a.print(report{data: reports})
			}
			return errors.Join(broken, err, verdict(reports))
		},
	}
	cmd.Flags().StringVar(&form, "report", "", "write `FORM` instead of a table: tap or junit")
	complete(cmd, "report", "tap", "junit")
	return cmd
}

// readScenarios reads scenarios by their names, or from files. The word all is those
// that vmlaunch brings along and that are for hosts like this one; which others there are
// is told.
func (a *app) readScenarios(refs []string) ([]configs.Scenario, error) {
	shipped := len(refs) == 1 && refs[0] == "all"
	if shipped {
		refs = configs.Shipped(configs.ShippedScenario)
	}
	var all []configs.Scenario
	var errs []error
	for _, ref := range refs {
		s, err := a.readScenario(ref)
		why := ""
		if err == nil && shipped {
			why, err = scenario.Elsewhere(s)
		}
		switch {
		case err != nil:
			errs = append(errs, err)
		case why != "":
			a.note("%s is left out: %s", s.Name, why)
		default:
			all = append(all, s)
		}
	}
	return all, errors.Join(errs...)
}

// writeScenarios writes for people what was seen of each step; of one that showed
// what it has to, only what is more than "done".
func writeScenarios(w io.Writer, reports []scenario.Report) error {
	var b strings.Builder
	for _, r := range reports {
		fmt.Fprintf(&b, "%s %s (%v): %s\n", strings.ToUpper(string(r.Result)), r.Scenario, r.Took.Round(10*time.Millisecond), r.About)
		if r.Why != "" {
			fmt.Fprintf(&b, "     %s\n", r.Why)
		}
		for i, s := range r.Steps {
			fmt.Fprintf(&b, "  %-4s %2d  %s\n", map[bool]string{true: "ok", false: "FAIL"}[s.OK && s.Played], i+1, s.What)
			for _, c := range s.Checks {
				switch {
				case !c.OK:
					fmt.Fprintf(&b, "           %s: want %s, got %s\n", c.What, c.Want, c.Got)
				case c.Want != c.Got || len(s.Checks) > 1 && c.Want != "done":
					fmt.Fprintf(&b, "           %s: %s\n", c.What, c.Got)
				}
			}
		}
	}
	_, err := io.WriteString(w, harmless(b.String()))
	return err
}

// verdict makes the results one error: a failure before a scenario that could not
// be played.
func verdict(reports []scenario.Report) error {
	var failed, skipped []string
	for _, r := range reports {
		switch r.Result {
		case scenario.Fail:
			failed = append(failed, r.Scenario)
		case scenario.Skip:
			skipped = append(skipped, r.Scenario+": "+r.Why)
		}
	}
	switch {
	case len(failed) > 0:
		return fmt.Errorf("scenario %s: %w", strings.Join(failed, ", "), ErrNotAsExpected)
	case len(skipped) > 0:
		return fmt.Errorf("not played (%w):\n%s", errors.ErrUnsupported, strings.Join(skipped, "\n"))
	}
	return nil
}

// readScenario reads a scenario by its name, or from a file.
func (a *app) readScenario(ref string) (configs.Scenario, error) {
	f, err := configs.ShippedFile(configs.ShippedScenario, ref)
	if strings.ContainsAny(ref, "/.") {
		f, err = readLabFile(ref)
	}
	if err != nil {
		return configs.Scenario{}, err
	}
	return configs.ReadScenario(f, configs.LabOptions{Getenv: a.lookupScenarioEnv})
}

// lookupScenarioEnv is [app.lookupEnv] with this host's own CID as OWN_CID, if it is
// a vsock guest.
func (a *app) lookupScenarioEnv(name string) (string, bool) {
	if name == "OWN_CID" {
		if own, err := vsock.OwnCID(); err == nil && own.Guest() {
			return own.String(), true
		}
	}
	return a.lookupEnv(name)
}

func someScenarios(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef("scenario %s: which one? (vmlaunch scenario ls, or a FILE)", cmd.Name())
	}
	return nil
}

// scenarioNames completes names of shipped scenarios, and files.
func scenarioNames(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	return unused(append(configs.Shipped(configs.ShippedScenario), "all"), args, begun), cobra.ShellCompDirectiveDefault
}
