package command

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vmlaunch/vmlaunch/configs"
)

const (
	// unitStopTimeout is what systemd gives `run` to end: its guest has 30 s to power
	// off, QEMU 5 s to quit and 10 s to be killed; the rest is for a busy host.
	unitStopTimeout = 90 * time.Second
	// unitStartSlack is what a launch takes besides the wait for its guest.
	unitStartSlack = time.Minute
)

// newSystemdUnit is a verb of its own, not `generate systemd` as podman has it:
// there is one thing to generate.
func newSystemdUnit(a *app) *cobra.Command {
	var of subject
	var restart string
	cmd := &cobra.Command{
		Use:   "systemd-unit [NAME]",
		Short: "Print a systemd unit that runs a machine",
		Long: `Prints a unit for systemd that keeps the machine NAME (default dev) running, by
vmlaunch run --keep with the flags that are given here. It counts as started when
the guest is ready. Nothing is changed: put it where systemd finds it, as

  vmlaunch systemd-unit web --image linux > /etc/systemd/system/vmlaunch-web.service
  systemctl daemon-reload && systemctl enable --now vmlaunch-web

With a lab's file NAME is one of its machines; the unit goes by the machine's restart
key, and is started after those of the machines that it depends on.`,
		Args:              atMostOneName,
		ValidArgsFunction: noCompletion,
		RunE: func(cmd *cobra.Command, args []string) error {
			m, inLab, err := of.blueprint(cmd, a, args)
			if err != nil {
				return err
			}
			if !slices.Contains(configs.Restarts(), restart) {
				return usagef("restart %q: want no, on-failure or always", restart)
			}
			if m.Restart != "" && !cmd.Flags().Changed("restart") {
				restart = m.Restart
			}
			m.Default()
			u := unit{machine: m.Name, restart: restart, ready: time.Duration(m.ReadyTimeout), root: os.Geteuid() == 0}
			name := m.Name
			if inLab != nil {
				name, u.after = m.Service, dependencies(*inLab, m)
			}
			if u.dir, err = os.Getwd(); err != nil {
				return err
			}
			self, err := os.Executable()
			if err != nil {
				return err
			}
			u.command = append([]string{self, "run", "--keep"}, flagWords(cmd.Flags(), "restart")...)
			u.command = append(u.command, "--", name)
			text, err := u.text()
			if err == nil {
				_, err = fmt.Fprint(a.host.Out, text)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&restart, "restart", configs.RestartOnFailure, "`WHEN` systemd restarts it: on-failure, always or no")
	of.add(cmd)
	complete(cmd, "restart", configs.Restarts()...)
	return cmd
}

// dependencies returns the machines of l that m depends on, by their names on the host.
func dependencies(l configs.Lab, m configs.LabMachine) []string {
	var names []string
	for _, other := range l.Machines {
		if _, depends := m.DependsOn[other.Role]; depends {
			names = append(names, other.Name)
		}
	}
	return names
}

// flagWords returns the flags that were given, but for one, as they can be given
// again.
func flagWords(fs *pflag.FlagSet, but string) []string {
	var words []string
	fs.Visit(func(f *pflag.Flag) {
		values := []string{f.Value.String()}
		if s, ok := f.Value.(pflag.SliceValue); ok {
			values = s.GetSlice()
		}
		for _, v := range values {
			if f.Name != but {
				words = append(words, "--"+f.Name+"="+v)
			}
		}
	})
	return words
}

// A unit is a systemd service around one machine.
type unit struct {
	machine string
	command []string // the first one is an absolute path
	dir     string   // that relative paths in it are relative to
	restart string
	ready   time.Duration // how long the guest may take
	root    bool          // of the system's manager, not of a user's
	after   []string      // machines whose units are started before it
}

// text returns the unit file. It fails if there is no way to write the folder; see
// systemd.unit(5), systemd.service(5) and systemd.exec(5).
func (u unit) text() (string, error) {
	if u.dir != strings.TrimSpace(u.dir) || strings.ContainsAny(u.dir, "\n\r\x00") || strings.HasSuffix(u.dir, `\`) {
		return "", fmt.Errorf("folder %q: systemd can't have such a name for WorkingDirectory (use another one)", u.dir)
	}
	words := make([]string, len(u.command))
	for i, w := range u.command {
		words[i] = unitWord(w)
	}
	target := "default.target"
	if u.root {
		target = "multi-user.target"
	}
	order := ""
	if len(u.after) > 0 {
		units := make([]string, len(u.after))
		for i, name := range u.after {
			units[i] = unitName(name)
		}
		all := strings.Join(units, " ")
		order = fmt.Sprintf("Wants=%s\nAfter=%s\n", all, all)
	}
	var prevent []string
	for _, c := range lasting() {
		prevent = append(prevent, fmt.Sprint(int(c)))
	}
	return fmt.Sprintf(`# %s, by vmlaunch systemd-unit
[Unit]
Description=vmlaunch machine %s
StartLimitIntervalSec=0
%s
[Service]
Type=notify
ExecStart=%s
WorkingDirectory=%s
TimeoutStartSec=%d
TimeoutStopSec=%d
KillMode=mixed
Restart=%s
RestartSec=1
SuccessExitStatus=%d
RestartPreventExitStatus=%s

[Install]
WantedBy=%s
`, unitName(u.machine), u.machine, order, strings.Join(words, " "), strings.ReplaceAll(u.dir, "%", "%%"),
		int((u.ready+unitStartSlack)/time.Second), int(unitStopTimeout/time.Second), u.restart,
		int(Interrupted), strings.Join(prevent, " "), target), nil
}

// unitName is the unit of a machine, as the help has it.
func unitName(machine string) string { return "vmlaunch-" + machine + ".service" }

// lasting are the exit codes of what is as wrong a second later.
func lasting() []Code { return []Code{Usage, NotFound, Conflict, CIDConflict, Unable, StateUnusable} }

// unitWord returns s as one word of a command line in a unit: see "Quoting" in
// systemd.syntax(7), and systemd.service(5) for % and $.
func unitWord(s string) string {
	plain := s != ""
	var b strings.Builder
	for _, c := range []byte(s) {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', strings.IndexByte("-_./:=,@+", c) >= 0:
			b.WriteByte(c)
			continue
		case c == '%' || c == '$':
			b.WriteByte(c)
			b.WriteByte(c)
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default: // UTF-8 stays as it is
			b.WriteByte(c)
		}
		plain = false
	}
	if plain {
		return b.String()
	}
	return `"` + b.String() + `"`
}
