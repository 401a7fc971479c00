package command

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/internal/agentconfig"
)

func newProxy(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "proxy NAME [PORT]",
		Short: "Connect standard input and output to a vsock port of a machine",
		Long: `Connects to a vsock port of the machine NAME (default 22, its SSH server), from
inside its namespace, and passes bytes both ways until the machine's side ends. It is
what ssh-config gives to ssh as ProxyCommand.`,
		Example: "  vmlaunch proxy web 1024 < request",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) > 2 {
				return usagef("%s: want a machine NAME and at most a PORT", cmd.Name())
			}
			return validNames(args[:1])
		},
		ValidArgsFunction: a.machineNames(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			port := uint32(agentconfig.SSHPort)
			if len(args) == 2 {
				p, err := parsePort(args[1])
				if err != nil {
					return err
				}
				port = p
			}
			l, err := a.launcher(cmd.Context())
			if err != nil {
				return err
			}
			conn, err := l.Dial(cmd.Context(), args[0], port)
			if err != nil {
				return err
			}
			a.progress.Done()
			err = relay(cmd.Context(), conn, a.host.In, a.host.Out)
			if cmd.Context().Err() != nil { // ssh ends its ProxyCommand by a signal, and is done
				return exitStatus(Interrupted)
			}
			return err
		},
	}
}

// parsePort reads a vsock port: any 32-bit number but the last, VMADDR_PORT_ANY.
func parsePort(text string) (uint32, error) {
	port, err := strconv.ParseUint(text, 10, 32)
	if err != nil || port == 1<<32-1 {
		return 0, usagef("port %q: want a number from 0 to 4294967294", text)
	}
	return uint32(port), nil
}
