package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/launcher"
)

func newSSHConfig(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "ssh-config [NAME…]",
		Short: "Print what ssh, scp and editors need to reach machines as NAME.vmlaunch",
		Long: `Prints a block of ssh_config(5) for each machine NAME, or for all that have an SSH
server. With it plain ssh NAME.vmlaunch works, and whatever builds on ssh: the
connection goes over vsock, from inside the machine's namespace, with the machine's
own key, and to that machine only.`,
		Example: `  vmlaunch ssh-config > ~/.ssh/vmlaunch.conf    # once: Include vmlaunch.conf in ~/.ssh/config
  ssh -F <(vmlaunch ssh-config web) web.vmlaunch`,
		Args:              anyNames,
		ValidArgsFunction: a.machineNames(true),
		RunE: func(cmd *cobra.Command, names []string) error {
			ways, err := ways(cmd.Context(), a, names)
			if err != nil {
				return err
			}
			if a.output != "table" && a.output != "wide" {
				return a.print(report{data: ways})
			}
			self, err := a.self()
			if err != nil {
				return err
			}
			return writeSSHConfig(a.host.Out, self, ways)
		},
	}
}

// ways returns the ways into the machines called names, or into all that can be
// entered if there are none.
func ways(ctx context.Context, a *app, names []string) ([]launcher.Access, error) {
	l, err := a.launcher(ctx)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		views, err := l.Machines(ctx)
		if err != nil {
			return nil, err
		}
		for _, v := range views {
			if v.Spec.Guest() != configs.GuestProbe {
				names = append(names, v.Name)
			}
		}
	}
	ways := []launcher.Access{}
	var errs []error
	for _, name := range names {
		w, err := l.Access(ctx, name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ways = append(ways, w)
	}
	return ways, errors.Join(errs...)
}

// writeSSHConfig writes a block for each of ways; self is how vmlaunch is called.
// It fails for a path that ssh_config(5) has no form for.
func writeSSHConfig(w io.Writer, self []string, ways []launcher.Access) error {
	for _, a := range ways {
		proxy := shellWords(append(self[:len(self):len(self)], "proxy", a.Machine))
		for _, text := range []string{proxy, a.Identity, a.KnownHosts} {
			if strings.ContainsAny(text, "\n\r\x00") {
				return fmt.Errorf("ssh-config of machine %q: %q: ssh can't read a path with a line break (use another --root)", a.Machine, text)
			}
		}
		_, err := fmt.Fprintf(w, `Host %s
  User %s
  ProxyCommand %s
  HostKeyAlias %s
  IdentityFile %s
  IdentitiesOnly yes
  UserKnownHostsFile %s
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
`, a.Host, a.User, strings.ReplaceAll(proxy, "%", "%%"), a.Host, sshPath(a.Identity), sshPath(a.KnownHosts))
		if err != nil {
			return err
		}
	}
	return nil
}

// sshPath writes a path as one word of ssh_config(5), in which % begins a token.
func sshPath(path string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%").Replace(path) + `"`
}
