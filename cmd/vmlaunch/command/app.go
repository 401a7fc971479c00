package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/cidalloc"
	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/image"
	"github.com/vmlaunch/vmlaunch/internal/paths"
	"github.com/vmlaunch/vmlaunch/launcher"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// An app is one run of vmlaunch: what it was given, and the values of the
// global flags once they are parsed.
type app struct {
	host     Host
	args     []string // as given, for the same command in the nest
	started  bool     // the command line was right
	progress progress
	board    *board     // instead of progress, while many machines are dealt with
	telling  sync.Mutex // held while a line is printed: several machines may be dealt with at once

	root          string
	nest          bool
	kernelVersion string
	output        string
	quiet         bool
	progressMode  string
}

// checkGlobals fails on values of the global flags that no command takes, and
// sets up what depends on them.
func (a *app) checkGlobals(cmd *cobra.Command) error {
	if err := validFormat(a.output); err != nil {
		return err
	}
	_, tty := terminal(a.host.Err)
	switch a.progressMode {
	case "auto":
		if tty && a.host.Getenv("TERM") != "dumb" {
			a.progress.w = a.host.Err
		}
	case "plain":
		a.progress.w, a.progress.plain = a.host.Err, true
	case "none":
	default:
		return usagef("--progress %q: want auto, plain or none", a.progressMode)
	}
	if a.quiet {
		a.progress.w = nil
	}
	if cmd.Flags().Changed("kernel-version") && !a.nest && !aboutNest(cmd) {
		return usagef("--kernel-version is about the nest (use it with --nest, or with vmlaunch nest; a machine's kernel is --kernel)")
	}
	return nil
}

// print writes r to standard output as the flags ask for it.
func (a *app) print(r report) error {
	a.progress.Done()
	return r.write(a.host.Out, a.output, a.quiet)
}

// tell prints one line about what was done, unless --quiet.
func (a *app) tell(format string, args ...any) {
	a.telling.Lock()
	defer a.telling.Unlock()
	a.progress.Done()
	if !a.quiet {
		fmt.Fprintf(a.host.Out, format+"\n", args...)
	}
}

// printLine prints the one line that a command is asked for, also with --quiet.
func (a *app) printLine(text string) error {
	a.progress.Done()
	_, err := fmt.Fprintln(a.host.Out, text)
	return err
}

func (a *app) dirs() (paths.Dirs, error) { return paths.Resolve(a.root) }

func (a *app) store() (*store.Store, error) {
	d, err := a.dirs()
	if err != nil {
		return nil, err
	}
	return store.New(d.State), nil
}

func (a *app) cache() (*image.Cache, error) {
	d, err := a.dirs()
	if err != nil {
		return nil, err
	}
	c := image.Open(d.Cache)
	c.Progress = a.say
	return c, nil
}

func (a *app) allocator() (*cidalloc.Allocator, error) {
	d, err := a.dirs()
	if err != nil {
		return nil, err
	}
	alloc := cidalloc.New(store.New(d.State))
	alloc.Ranges, err = ranges(d.Settings)
	return alloc, err
}

// ranges returns what the settings file says of CIDs. There need not be one.
func ranges(file string) (cidalloc.Ranges, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return cidalloc.Ranges{}, nil
	}
	if err != nil {
		return cidalloc.Ranges{}, fmt.Errorf("read settings: %w", err)
	}
	s, err := configs.ParseSettings(file, text)
	if err != nil {
		return cidalloc.Ranges{}, err
	}
	r := cidalloc.Ranges{Source: file, Named: map[string]cidalloc.Range{}}
	for key, said := range s.CIDRanges {
		in := cidalloc.Range{First: vsock.CID(said.First), Last: vsock.CID(said.Last)}
		switch key {
		case configs.VsockGlobal:
			r.Global = in
		case configs.VsockLocal:
			r.Local = in
		default:
			r.Named[key] = in
		}
	}
	return r, nil
}

// launcher returns the launcher on this installation, after it has put the
// records right about what happened since the last command.
func (a *app) launcher(ctx context.Context) (*launcher.Launcher, error) {
	l, err := a.bareLauncher()
	if err != nil {
		return nil, err
	}
	repairs, err := l.Reconcile(ctx)
	switch Of(err) {
	case OK:
	case StateUnusable, TimedOut, Interrupted, Unable:
		return nil, err
	default: // about one machine, which must not keep others from being used
		a.note("vmlaunch: %v", err)
	}
	for _, r := range repairs {
		a.progress.Say(r.String())
	}
	return l, nil
}

// bareLauncher returns the launcher on this installation, before it has looked at
// anything.
func (a *app) bareLauncher() (*launcher.Launcher, error) {
	dirs, err := a.dirs()
	if err != nil {
		return nil, err
	}
	cache, err := a.cache()
	if err != nil {
		return nil, err
	}
	alloc, err := a.allocator()
	if err != nil {
		return nil, err
	}
	self, err := a.self()
	if err != nil {
		return nil, err
	}
	return launcher.New(launcher.Config{
		Self:     self,
		Dirs:     dirs,
		Store:    store.New(dirs.State),
		Alloc:    alloc,
		Cache:    cache,
		Progress: a.event,
		Step:     killAt(a.host.Getenv("VMLAUNCH_TEST_KILL_AT")),
	}), nil
}

// self is how vmlaunch is called for this installation, from anywhere.
func (a *app) self() ([]string, error) {
	program, err := executable()
	if err != nil {
		return nil, err
	}
	self := []string{program}
	if a.root == "" {
		return self, nil
	}
	root, err := filepath.Abs(a.root)
	if err != nil {
		return nil, err
	}
	return append(self, "--root", root), nil
}

// say shows what goes on, with no machine in particular.
func (a *app) say(text string) {
	if a.board != nil {
		a.board.Set("images", text)
		return
	}
	a.progress.Say(text)
}

// event shows what goes on with a machine.
func (a *app) event(e launcher.Event) {
	if a.board != nil {
		a.board.Set(e.Machine, strings.TrimPrefix(describe(e), e.Machine+": "))
		return
	}
	a.progress.Say(describe(e))
}

// describe says what is going on with a machine, in one line.
func describe(e launcher.Event) string {
	if e.Line == "" {
		return e.Machine + ": " + e.Phase
	}
	return e.Machine + ": " + e.Phase + ": " + e.Line
}

// killAt is for tests: it returns a hook that kills this process, as the
// kernel's out-of-memory killer might, when a verb reaches the named step.
func killAt(name string) func(string) {
	if name == "" {
		return nil
	}
	return func(step string) {
		if step != name {
			return
		}
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = self.Kill()
		}
		if err != nil {
			panic(err) //nolint:forbidigo // the test that asked for it must see it fail
		}
		select {} // the signal is on its way
	}
}

// absolute makes a path on this command line independent of the folder it was
// given in; anything without a slash is not a path but a name.
func absolute(ref string) (string, error) {
	if !strings.Contains(ref, "/") {
		return ref, nil
	}
	return filepath.Abs(ref)
}

// printJSON prints one thing that has no table: as JSON unless --output says
// YAML or a template.
func (a *app) printJSON(v any) error {
	format := a.output
	if format == "table" || format == "wide" {
		format = "json"
	}
	a.progress.Done()
	return report{data: v}.write(a.host.Out, format, false)
}

// note prints one line for the user on standard error, unless --quiet.
func (a *app) note(format string, args ...any) {
	a.progress.Done()
	if !a.quiet {
		fmt.Fprintln(a.host.Err, harmless(fmt.Sprintf(format, args...)))
	}
}
