// Package launcher brings one machine up, takes it down, and puts it back into
// a known state after anything went wrong.
//
// A QEMU outlives the command that started it. So nothing here believes the
// record alone: what is true of a machine is asked of the kernel and of its
// QEMU at each look (see [Launcher.Inspect]), and what an earlier command left
// half done is repaired by [Launcher.Reconcile]. Start reading at launch.go.
package launcher

import (
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/vmlaunch/vmlaunch/cidalloc"
	"github.com/vmlaunch/vmlaunch/image"
	"github.com/vmlaunch/vmlaunch/internal/paths"
	"github.com/vmlaunch/vmlaunch/store"
)

// Config is what a [Launcher] works with. Dirs, Store and Alloc must be given.
type Config struct {
	Dirs  paths.Dirs
	Store *store.Store
	Alloc *cidalloc.Allocator
	Cache *image.Cache // what guests boot from

	// Self is how this program is called again, for the daemon that serves the
	// ports of a machine: see [Launcher.ServePorts]. It may be empty where no machine has any.
	Self []string

	// Log gets what a user need not know; nil for nowhere.
	Log *slog.Logger
	// Progress, if not nil, is called when a verb on a machine gets on, and with
	// each new last line of the console or of the guest's agent while a guest
	// boots. It may be called by several goroutines at once, and must not call
	// the launcher.
	Progress func(Event)
	// Step, if not nil, is called before each step of a verb with its name (see
	// [VerbSteps]). It is there for tests that end the process in mid-verb.
	Step func(name string)
}

// An Event says how far a verb on a machine has got.
type Event struct {
	Machine string
	Phase   string // what begins: a step of [Steps], "ready", "stopping" …
	Line    string // last line of the console, while Phase is "boot"
}

// String returns the event in one line.
func (e Event) String() string {
	if e.Line != "" {
		return fmt.Sprintf("%s: %s: %s", e.Machine, e.Phase, e.Line)
	}
	return fmt.Sprintf("%s: %s", e.Machine, e.Phase)
}

// A Launcher is the one way to change machines. It holds nothing open and is
// safe for concurrent use, by several processes too: verbs on one machine wait
// for each other, verbs on different machines don't.
type Launcher struct {
	Config
	cids cids
}

// New returns a Launcher. It touches nothing.
func New(c Config) *Launcher {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Launcher{c, vhost{c.Alloc}}
}

func (l *Launcher) progress(machine, phase, line string) {
	if l.Progress != nil {
		l.Progress(Event{machine, phase, line})
	}
}

func (l *Launcher) step(name string) {
	if l.Step != nil {
		l.Step(name)
	}
}

// folder returns where the machine called name keeps its files.
func (l *Launcher) folder(name string) folder {
	return folder{
		run:   filepath.Join(l.Dirs.Run, name),
		state: filepath.Join(l.Dirs.State, "machines", name),
	}
}
