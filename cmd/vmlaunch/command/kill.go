package command

import (
	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/launcher"
)

func newKill(a *app) *cobra.Command {
	return onEach(a, "kill NAME…", "End machines at once, without asking the guest", "killed", (*launcher.Launcher).Kill)
}
