package command

import (
	"runtime"

	"github.com/spf13/cobra"
)

// versionJSON is what `version --output json` prints.
type versionJSON struct {
	Version string `json:"version"`
	Go      string `json:"go"`
}

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "version",
		Short:             "Print the version of vmlaunch",
		Args:              noArgs,
		ValidArgsFunction: noCompletion,
		RunE: func(*cobra.Command, []string) error {
			v := versionJSON{Version: a.host.Version, Go: runtime.Version()}
			return a.print(report{
				data: v,
				head: []string{"VERSION", "GO"},
				rows: [][]string{{v.Version, v.Go}},
				name: func(int) string { return v.Version },
			})
		},
	}
}
