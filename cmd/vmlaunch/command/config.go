package command

import (
	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/configs"
)

func newConfig(a *app) *cobra.Command {
	var f labFlags
	cmd := &cobra.Command{
		Use:   "config [WORD [NAME]]",
		Short: "The lab as it is read: variables, defaults and overlays resolved, as YAML",
		Long: `Prints the lab that the file declares (or several: the later ones are laid over
the first), with variables, defaults, extends and replicas resolved. A file with
mistakes is refused with all of them, each with its line and column (exit code 2).
With the word schema: the JSON schema of such files, for editors. With the word
example: a file to begin with (without NAME, what there is).`,
		Args:      configWords,
		ValidArgs: []string{"schema", "example"},
		RunE: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
			case args[0] == "schema":
				return a.printJSON(configs.LabSchema())
			default:
				return a.example(args[1:])
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

// configWords takes schema, or example with or without a name.
func configWords(_ *cobra.Command, args []string) error {
	switch {
	case len(args) == 0, len(args) == 1 && args[0] == "schema", len(args) <= 2 && args[0] == "example":
		return nil
	}
	return usagef("config: %q: want nothing, schema, or example and perhaps a NAME", args)
}

// example prints a lab's file that vmlaunch brings along, or the names of all.
func (a *app) example(names []string) error {
	if len(names) == 0 {
		for _, name := range configs.Shipped(configs.ShippedExample) {
			if err := a.printLine(name); err != nil {
				return err
			}
		}
		return nil
	}
	f, err := configs.ShippedFile(configs.ShippedExample, names[0])
	if err != nil {
		return err
	}
	_, err = a.host.Out.Write(f.Text)
	return err
}
