package command

import (
	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/configs"
)

func newConfig(a *app) *cobra.Command {
	var f labFlags
	cmd := &cobra.Command{
		Use:   "config [schema]",
		Short: "The lab as it is read: variables, defaults and overlays resolved, as YAML",
		Long: `Prints the lab that the file declares (or several: the later ones are laid over
the first), with variables, defaults, extends and replicas resolved. A file with
mistakes is refused with all of them, each with its line and column (exit code 2).
With the word schema: the JSON schema of such files, for editors.`,
		Args:      oneWord("schema"),
		ValidArgs: []string{"schema"},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return a.printJSON(configs.LabSchema())
			}
			labs, err := f.all(a)
			if err != nil {
				return err
			}
			a.progress.Done()
			format := a.output
			if format == "table" || format == "wide" {
				format = "yaml"
			}
			var data any = labs
			if f.copies == 0 {
				data = labs[0]
			}
			return report{data: data}.write(a.host.Out, format, false)
		},
	}
	f.add(cmd)
	return cmd
}

func newValidate(a *app) *cobra.Command {
	var f labFlags
	cmd := &cobra.Command{
		Use:               "validate",
		Short:             "Is a lab's file right? All mistakes at once, with line and column",
		Args:              noArgs,
		ValidArgsFunction: noCompletion,
		RunE: func(*cobra.Command, []string) error {
			labs, err := f.all(a)
			if err != nil {
				return err
			}
			a.tell("lab %s: %d machines in %d namespaces", labs[0].Name, len(labs[0].Machines), len(labs[0].Namespaces))
			return nil
		},
	}
	f.add(cmd)
	return cmd
}
