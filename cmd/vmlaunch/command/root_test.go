package command

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// outcome is what one command said and how it ended.
type outcome struct {
	stdout, stderr string
	code           Code
}

// vmlaunch runs a command in this process, with state of its own.
func vmlaunch(t *testing.T, args ...string) outcome {
	t.Helper()
	return vmlaunchIn(t, t.TempDir(), nil, args...)
}

// vmlaunchIn runs a command on the installation root, with an environment.
func vmlaunchIn(t *testing.T, root string, env map[string]string, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	h := Host{
		In:      strings.NewReader(""),
		Out:     &stdout,
		Err:     &stderr,
		Getenv:  func(name string) string { return env[name] },
		Version: "v0-test",
	}
	code := Run(t.Context(), h, append([]string{"--root", root}, args...)...)
	return outcome{stdout.String(), stderr.String(), code}
}

func TestWrongCommandLines(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"frobnicate"}, `vmlaunch: unknown command "frobnicate" (see vmlaunch --help)`},
		{[]string{"stat"}, `vmlaunch: unknown command "stat" (did you mean start, stop, state?)`},
		{[]string{"netns", "creat"}, `vmlaunch: unknown command "creat" (did you mean create?)`},
		{[]string{"netns"}, `vmlaunch: netns: which of create, ls, inspect, exec, rm?`},
		{[]string{"help", "frobnicate"}, `vmlaunch: unknown command "frobnicate" (see vmlaunch --help)`},
		{[]string{"ls", "--frob"}, `vmlaunch: unknown flag: --frob`},
		{[]string{"version", "stray"}, `vmlaunch: version: unexpected "stray" (it takes no arguments)`},
		{[]string{"ls", "-o", "xml"}, `vmlaunch: --output "xml": want table, wide, json, yaml, template=`},
		{[]string{"ls", "--progress", "loud"}, `vmlaunch: --progress "loud": want auto, plain or none`},
		{[]string{"ls", "--kernel-version", "7.3"}, `vmlaunch: --kernel-version is about the nest (use it with --nest, or with vmlaunch nest; a machine's kernel is --kernel)`},
		{[]string{"--nest", "nest", "up"}, `vmlaunch: vmlaunch nest up is about the nest itself (leave out --nest)`},
		{[]string{"stop"}, `vmlaunch: stop: which machine? (vmlaunch ls shows them)`},
		{[]string{"stop", "a/b"}, `vmlaunch: machine "a/b": want 1 to 63 of a-z 0-9 . _ - and a letter or digit first`},
		{[]string{"exec", "web"}, `vmlaunch: exec: want NAME and a command`},
		{[]string{"exec", "web", "--"}, `vmlaunch: exec: want NAME and a command`},
		{[]string{"qmp", "web", "stop", "{"}, `vmlaunch: qmp arguments "{": not JSON (quote them for the shell)`},
		{[]string{"wait", "web", "--for", "rain"}, ``},
		{[]string{"completion", "ksh"}, `vmlaunch: invalid argument "ksh" for "vmlaunch completion"`},
		{[]string{"up", "web", "--cid", "many"}, `vmlaunch: cid "many": not the cid of a guest (want 3 to 4294967294)`},
		{[]string{"up", "web", "--cid", "4294967295"}, `vmlaunch: cid "4294967295": not the cid of a guest (want 3 to 4294967294)`},
		{[]string{"up", "web", "--memory", "0"}, `vmlaunch: memory "0": want at least 1M`},
		{[]string{"up", "web", "--memory", "lots"}, `vmlaunch: memory "lots": want a number of MiB, or one ending in M, G or T`},
		{[]string{"up", "web", "--cpus", "0"}, `vmlaunch: cpus 0: want at least 1`},
		{[]string{"up", "web", "--timeout", "0s"}, `vmlaunch: timeout 0s: want more than zero`},
		{[]string{"up", "web", "--accel", "hvf"}, ``},
		{[]string{"netns", "create", "../etc"}, ``},
		{[]string{"netns", "create", "cell", "--vsock", "lokal"}, `vmlaunch: vsock mode "lokal": not a vsock mode (want global or local)`},
		{[]string{"logs", "web", "--tail", "-2"}, `vmlaunch: --tail -2: want 0 or more lines, or -1 for all`},
		{[]string{"console", "web", "--tail", "-2"}, `vmlaunch: --tail -2: want 0 or more lines, or -1 for all`},
		{[]string{"port-forward", "web"}, `vmlaunch: port-forward: want a machine NAME and what to forward, as 8080:80`},
		{[]string{"port-forward", "web", "80"}, `vmlaunch: port "80": want both sides, as 80:80, or :80 to have a free port chosen`},
		{[]string{"up", "web", "--publish", "8080:80/udp"}, `vmlaunch: port "8080:80/udp": UDP is not forwarded`},
		{[]string{"up", "web", "--publish", "8080:80", "--publish", "8080:81"}, `vmlaunch: port "127.0.0.1:8080:81": another one listens there`},
		{[]string{"serve-ports", "web"}, ``},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			got := vmlaunch(t, c.args...)
			if got.code != Usage {
				t.Errorf("exit code %d, want %d: %s", got.code, Usage, got.stderr)
			}
			if line := strings.TrimSuffix(got.stderr, "\n"); c.want != "" && line != c.want || strings.Contains(line, "\n") {
				t.Errorf("stderr\n got %s\nwant %s", line, c.want)
			}
			if got.stdout != "" {
				t.Errorf("stdout: %q", got.stdout)
			}
		})
	}
}

// TestAllMistakesAtOnce shows every mistake of a blueprint in one run.
func TestAllMistakesAtOnce(t *testing.T) {
	got := vmlaunch(t, "up", "web", "--cid", "2", "--cpus", "0", "--accel", "hvf")
	for _, want := range []string{`cid "2"`, "cpus 0", `accel "hvf"`} {
		if !strings.Contains(got.stderr, want) {
			t.Errorf("no %s in %q", want, got.stderr)
		}
	}
}

func TestEveryCommandIsComplete(t *testing.T) {
	root := newRoot(&app{host: Host{Version: "v0"}})
	seen := 0
	walk(root, func(cmd *cobra.Command) {
		seen++
		if cmd.Short == "" {
			t.Errorf("%s: no short help", cmd.CommandPath())
		}
		if cmd.Args == nil {
			t.Errorf("%s: Args is not set, so it takes stray words", cmd.CommandPath())
		}
		if cmd.RunE == nil {
			t.Errorf("%s: does nothing", cmd.CommandPath())
		}
		if cmd.Run != nil || cmd.PersistentPreRun != nil || cmd.PersistentPreRunE != nil {
			t.Errorf("%s: only RunE is wrapped", cmd.CommandPath())
		}
	})
	if seen < 30 {
		t.Errorf("the tree has %d commands", seen)
	}
}

func walk(cmd *cobra.Command, fn func(*cobra.Command)) {
	fn(cmd)
	for _, sub := range cmd.Commands() {
		walk(sub, fn)
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{}, {"--help"}, {"help"}, {"help", "netns", "create"}, {"up", "--help"}} {
		got := vmlaunch(t, args...)
		if got.code != OK || got.stderr != "" || !strings.Contains(got.stdout, "Usage:") {
			t.Errorf("%q: exit code %d, stderr %q, stdout %q", args, got.code, got.stderr, got.stdout)
		}
	}
}

func TestVersion(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--version"}, "vmlaunch v0-test\n"},
		{[]string{"version", "-q"}, "v0-test\n"},
		{[]string{"version", "-o", "template={{.version}}"}, "v0-test\n"},
	} {
		if got := vmlaunch(t, c.args...); got.stdout != c.want || got.code != OK {
			t.Errorf("%q: %q, exit code %d", c.args, got.stdout, got.code)
		}
	}
}

// TestInterrupted shows that a cancelled context ends a command with 130, once.
func TestInterrupted(t *testing.T) {
	var stderr bytes.Buffer
	h := Host{In: strings.NewReader(""), Out: &bytes.Buffer{}, Err: &stderr, Getenv: func(string) string { return "" }}
	ctx, cancel := cancelled(t)
	defer cancel()
	if code := Run(ctx, h, "--root", t.TempDir(), "stop", "web"); code != Interrupted {
		t.Errorf("exit code %d, want %d: %s", code, Interrupted, &stderr)
	}
}
