package command

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/netns"
)

// ErrUsage says that the command line is wrong: nothing was looked at or changed.
var ErrUsage = errors.New("wrong command line")

// usageError marks err as [ErrUsage] without a word of its own in the message.
type usageError struct{ err error }

func (e *usageError) Error() string        { return e.err.Error() }
func (e *usageError) Unwrap() error        { return e.err }
func (e *usageError) Is(target error) bool { return target == ErrUsage }

// usagef returns an [ErrUsage] with a message.
func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// oneName asks for one machine name.
func oneName(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usagef("%s: want one machine NAME, got %d words", cmd.Name(), len(args))
	}
	return validNames(args)
}

// atMostOneName takes one machine name or none.
func atMostOneName(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usagef("%s: want one machine NAME, got %d words", cmd.Name(), len(args))
	}
	return validNames(args)
}

// anyNames takes machine names, or none.
func anyNames(_ *cobra.Command, args []string) error { return validNames(args) }

// someNames asks for one or more machine names.
func someNames(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef("%s: which machine? (vmlaunch ls shows them)", cmd.Name())
	}
	return validNames(args)
}

// nameAndCommand asks for a name and a command behind it.
func nameAndCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 || args[0] == "--" || len(behindName(args)) == 0 {
		return usagef("%s: want NAME and a command", cmd.Name())
	}
	return validNames(args[:1])
}

// behindName returns the words of a command that stands behind a name, without
// the -- that may separate the two.
func behindName(args []string) []string {
	rest := args[1:]
	if len(rest) > 0 && rest[0] == "--" {
		rest = rest[1:]
	}
	return rest
}

// endFlagsAtName makes the first word that is no flag end the flags of cmd: what
// follows belongs to the command that cmd is to run.
func endFlagsAtName(cmd *cobra.Command) {
	cmd.Flags().SetInterspersed(false)
	cmd.Annotations = map[string]string{flagsEnd: ""}
}

func flagsEndAtName(cmd *cobra.Command) bool {
	_, marked := cmd.Annotations[flagsEnd]
	return marked
}

// flagsEnd marks the commands of [endFlagsAtName].
const flagsEnd = "vmlaunch/flags-end-at-name"

// noArgs refuses stray words.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s: unexpected %q (it takes no arguments)", cmd.Name(), args[0])
	}
	return nil
}

// noVerb is Args of a command that only holds others: any word is a verb that
// it does not have.
func noVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	near := cmd.SuggestionsFor(args[0])
	if len(near) == 0 {
		return usagef("unknown command %q (see %s --help)", args[0], cmd.CommandPath())
	}
	return usagef("unknown command %q (did you mean %s?)", args[0], strings.Join(near, ", "))
}

// group returns a command that only holds verbs.
func group(use, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  noVerb,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var names []string
			for _, v := range verbs {
				names = append(names, v.Name())
			}
			return usagef("%s: which of %s?", cmd.Name(), strings.Join(names, ", "))
		},
	}
	cmd.SuggestionsMinimumDistance = suggestionDistance
	cmd.AddCommand(verbs...)
	return cmd
}

// oneNetns asks for the name of one namespace, one that vmlaunch would give.
func oneNetns(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usagef("%s: want one namespace NAME, got %d words", cmd.Name(), len(args))
	}
	return netns.ValidName(args[0])
}

// someNetns asks for one or more names of namespaces, whoever gave them.
func someNetns(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef("%s: which namespace? (vmlaunch netns ls shows them)", cmd.CommandPath())
	}
	return nil
}

func validNames(names []string) error {
	for _, name := range names {
		if err := configs.ValidName(name); err != nil {
			return usagef("machine %q: %w", name, err)
		}
	}
	return nil
}
