package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// commandBound ends a vmlaunch that hangs. A Linux guest in a nest needs about
// two minutes on two idle cores, several at once a few times that, and a stock
// distribution a quarter of an hour.
const commandBound = 30 * time.Minute

// sharedCache is where vmlaunch keeps images by default, as root.
const sharedCache = "/var/cache/vmlaunch"

// A host is one vmlaunch installation of its own: a --root folder, and the
// promise that nothing of it stays when the test ends.
type host struct {
	t      *testing.T
	root   string
	env    []string
	pins   []string // names in /run/netns before the test
	prefix string   // of the names of its namespaces, where other tests run at once
}

// newHost returns an empty installation. When the test ends everything it
// still runs is removed, and the kernel is asked whether anything stayed.
func newHost(t *testing.T) *host {
	t.Helper()
	testenv.Require(t, testenv.Vmlaunch)
	root, err := os.MkdirTemp("", "e2e")
	if err != nil {
		t.Fatal(err)
	}
	// Kernels and initramfs are shared: a nest comes with its own, and has no
	// network to get others.
	if err := errors.Join(os.MkdirAll(sharedCache, 0o755), os.Symlink(sharedCache, filepath.Join(root, "cache"))); err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, root: root, pins: pins(t)}
	t.Cleanup(func() {
		if t.Failed() {
			h.dump()
		}
		h.sweep()
		h.wantClean()
		if err := os.RemoveAll(root); err != nil {
			t.Errorf("remove root: %v", err)
		}
	})
	return h
}

// A result is what one command said and how it ended.
type result struct {
	args           []string
	stdout, stderr string
	code           int
}

func (r result) String() string {
	return fmt.Sprintf("vmlaunch %s\nexit code %d\nstdout: %s\nstderr: %s", strings.Join(r.args, " "), r.code, r.stdout, r.stderr)
}

// run runs vmlaunch with args and returns how it ended.
func (h *host) run(args ...string) result {
	h.t.Helper()
	return h.runInput("", args...)
}

// runInput is run with text on standard input.
func (h *host) runInput(input string, args ...string) result {
	h.t.Helper()
	// Not the test's context: it ends before the clean-up that runs commands too.
	ctx, cancel := context.WithTimeout(context.Background(), commandBound)
	defer cancel()
	cmd := exec.CommandContext(ctx, testenv.Binary(), append([]string{"--root", h.root}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
	cmd.Env = append(os.Environ(), h.env...)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatalf("vmlaunch %s: %v", strings.Join(args, " "), err)
	}
	if ctx.Err() != nil {
		h.t.Fatalf("vmlaunch %s: still running after %s\nstdout: %s\nstderr: %s", strings.Join(args, " "), commandBound, &stdout, &stderr)
	}
	return result{args, stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must runs a command that has to succeed and returns its standard output
// without the last newline.
func (h *host) must(args ...string) string {
	h.t.Helper()
	return strings.TrimRight(h.want(0, args...).stdout, "\n")
}

// want runs a command that has to end with code.
func (h *host) want(code int, args ...string) result {
	h.t.Helper()
	r := h.run(args...)
	if r.code != code {
		h.t.Fatalf("want exit code %d: %s", code, r)
	}
	return r
}

// wantFailure runs a command that has to end with code and one line on
// standard error that holds all words.
func (h *host) wantFailure(code int, words []string, args ...string) result {
	h.t.Helper()
	r := h.want(code, args...)
	line := strings.TrimRight(r.stderr, "\n")
	if strings.Contains(line, "\n") {
		h.t.Errorf("want one line of error: %s", r)
	}
	for _, w := range words {
		if !strings.Contains(line, w) {
			h.t.Errorf("want %q in the error: %s", w, r)
		}
	}
	return r
}

// machine is the part of `vmlaunch inspect` that the tests look at.
type machine struct {
	Name  string `json:"name"`
	State string `json:"state"`
	Ready bool   `json:"ready"`
	CID   uint32 `json:"cid"`
	Netns string `json:"netns"`
	Mode  string `json:"mode"`
	PID   int    `json:"pid"`
}

// inspect returns what vmlaunch says of the machine now.
func (h *host) inspect(name string) machine {
	h.t.Helper()
	var m machine
	h.decode(&m, "inspect", name)
	return m
}

// list returns all machines by name.
func (h *host) list() map[string]machine {
	h.t.Helper()
	var rows []machine
	h.decode(&rows, "ls", "--output", "json")
	byName := make(map[string]machine, len(rows))
	for _, m := range rows {
		byName[m.Name] = m
	}
	return byName
}

func (h *host) decode(v any, args ...string) {
	h.t.Helper()
	out := h.must(args...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		h.t.Fatalf("vmlaunch %s: %v in %q", strings.Join(args, " "), err, out)
	}
}

// netns makes a namespace and removes it when the test ends.
func (h *host) netns(name, mode string) {
	h.t.Helper()
	h.must("netns", "create", name, "--vsock", mode)
}

// sweep removes all machines and namespaces that the test left.
func (h *host) sweep() {
	var names []struct{ Name string }
	if r := h.run("ls", "--output", "json"); r.code == 0 && json.Unmarshal([]byte(r.stdout), &names) == nil {
		for _, m := range names {
			h.run("rm", "--force", m.Name)
		}
	}
	for _, n := range h.newPins() {
		h.run("netns", "rm", n)
	}
}

// newPins lists the named namespaces that this test has made.
func (h *host) newPins() []string {
	return slices.DeleteFunc(pins(h.t), func(n string) bool { return slices.Contains(h.pins, n) || !strings.HasPrefix(n, h.prefix) })
}

// wantClean asks the kernel, not vmlaunch, whether something of this
// installation is left: processes, mounts, pinned namespaces, run files.
func (h *host) wantClean() {
	h.t.Helper()
	for _, p := range h.processes() {
		h.t.Errorf("left behind: process %s", p)
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil {
		h.t.Errorf("read mounts: %v", err)
	} else if strings.Contains(string(mounts), h.root) {
		h.t.Errorf("left behind: a mount below %s:\n%s", h.root, mounts)
	}
	for _, n := range h.newPins() {
		h.t.Errorf("left behind: namespace %s", n)
	}
	h.wantNoFiles()
}

// wantNoFiles asks that no file of a machine, and no lock, is there.
func (h *host) wantNoFiles() {
	h.t.Helper()
	for _, pattern := range []string{"run/*", "run/.locks/*", "run/.netns/*", "state/machines/*"} {
		paths, err := filepath.Glob(filepath.Join(h.root, pattern))
		if err != nil {
			h.t.Errorf("look for files: %v", err)
		}
		for _, p := range paths {
			b := filepath.Base(p)
			if pin, ok := strings.CutSuffix(b, ".json"); ok && slices.Contains(pins(h.t), pin) {
				continue // the card of a namespace that is there
			}
			if b != ".locks" && b != ".netns" { // the empty folders may stay
				h.t.Errorf("left behind: %s", p)
			}
		}
	}
}

// processes lists the processes whose command line names this installation, or
// whose output goes to a log of it: a QEMU has no path of ours on it.
func (h *host) processes() []string {
	h.t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		h.t.Fatal(err)
	}
	var found []string
	for _, d := range dirs {
		line, err := os.ReadFile(filepath.Join(d, "cmdline"))
		if err != nil || filepath.Base(d) == strconv.Itoa(os.Getpid()) {
			continue // gone since, or this test itself
		}
		log, _ := os.Readlink(filepath.Join(d, "fd/1"))
		if text := strings.ReplaceAll(string(line), "\x00", " "); strings.Contains(text, h.root) || strings.HasPrefix(log, h.root+"/state/") {
			found = append(found, filepath.Base(d)+": "+text)
		}
	}
	return found
}

// qemus lists the QEMU processes of this installation.
func (h *host) qemus() []string {
	h.t.Helper()
	return slices.DeleteFunc(h.processes(), func(p string) bool {
		return !strings.Contains(p, ": qemu-system") && !strings.Contains(p, "/qemu-system")
	})
}

// interrupt starts a command, sends it SIGINT as soon as seen is true, and
// returns how it ended.
func (h *host) interrupt(seen func() bool, args ...string) result {
	h.t.Helper()
	cmd := exec.CommandContext(h.t.Context(), testenv.Binary(), append([]string{"--root", h.root}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	await(h.t, "the moment to interrupt", seen)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		h.t.Errorf("interrupt: %v", err)
	}
	_ = cmd.Wait() // the exit code is what counts
	return result{args, stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// dump shows what a failed test left, before it is cleaned up.
func (h *host) dump() {
	h.t.Logf("%s", h.run("ls", "--output", "wide"))
	logs, err := filepath.Glob(filepath.Join(h.root, "state/machines/*/*.log"))
	if err != nil {
		h.t.Log(err)
	}
	for _, l := range logs {
		text, err := os.ReadFile(l)
		if err != nil {
			h.t.Log(err)
			continue
		}
		h.t.Logf("%s:\n%s", l, text[max(0, len(text)-2000):])
	}
}

// pins lists the named namespaces of the host.
func pins(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/run/netns")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
