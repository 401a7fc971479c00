package command

import (
	"context"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/nest"
	"github.com/vmlaunch/vmlaunch/vsock"
)

func newNest(a *app) *cobra.Command {
	cmd := group("nest", "A Linux >= 7.0 host of its own, where this host's kernel can't do the job",
		newNestUp(a), newNestRun(a), newNestShell(a), newNestCp(a), newNestLs(a), newNestDown(a))
	cmd.Long = `A nest is a virtual machine with a Linux kernel that has vsock namespaces, this
vmlaunch, QEMU and the built-in guests in it. Machines in it are real, only slower.
vmlaunch --nest COMMAND does COMMAND in there, and brings the nest up first.`
	return cmd
}

// aboutNest reports whether cmd is nest or one of its verbs.
func aboutNest(cmd *cobra.Command) bool {
	return cmd.Name() == "nest" || cmd.HasParent() && aboutNest(cmd.Parent())
}

// nestRunDir is where nests keep their folders: no machine can have a name that
// starts with a dot.
func (a *app) nestRunDir() (string, error) {
	d, err := a.dirs()
	return filepath.Join(d.Run, ".nest"), err
}

// A nestWish is what a nest is made with; what is zero is left to the nest.
type nestWish struct {
	memoryMiB, cpus int
	guest           string // kernel reference, or nest.NoGuest
	ownCID          uint32
}

// nestUp brings the nest up, or takes the one that runs.
func (a *app) nestUp(ctx context.Context, w nestWish) (*nest.Nest, error) {
	cache, err := a.cache()
	if err != nil {
		return nil, err
	}
	runDir, err := a.nestRunDir()
	if err != nil {
		return nil, err
	}
	binary, err := executable()
	if err != nil {
		return nil, err
	}
	n, err := nest.Up(ctx, nest.Options{
		Cache:     cache,
		RunDir:    runDir,
		Kernel:    a.kernelVersion,
		Guest:     w.guest,
		MemoryMiB: w.memoryMiB,
		CPUs:      w.cpus,
		OwnCID:    w.ownCID,
		Binary:    binary,
		Progress:  a.progress.Say,
	})
	a.progress.Done()
	return n, err
}

func newNestUp(a *app) *cobra.Command {
	var (
		w              nestWish
		memory, ownCID string
	)
	cmd := &cobra.Command{
		Use:               "up",
		Short:             "Bring the nest up; one that runs is taken as it is",
		Args:              noArgs,
		ValidArgsFunction: noCompletion,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if memory != "" {
				mib, err := parseMemory(memory)
				if err != nil {
					return err
				}
				w.memoryMiB = mib
			}
			if ownCID != "" {
				cid, err := vsock.ParseCID(ownCID)
				if err != nil {
					return usagef("--own-cid: %v", err)
				}
				w.ownCID = uint32(cid)
			}
			n, err := a.nestUp(cmd.Context(), w)
			if err != nil {
				return err
			}
			i := n.Info()
			a.tell("nest is up: Linux %s, %d CPUs, %d MiB (vmlaunch nest shell, or --nest on any command)", i.Kernel, i.CPUs, i.MemoryMiB)
			return nil
		},
	}
	cmd.Flags().StringVar(&memory, "memory", "", "memory of the nest, `SIZE` such as 4G")
	cmd.Flags().IntVar(&w.cpus, "cpus", 0, "`N` virtual CPUs (default 2)")
	cmd.Flags().StringVar(&ownCID, "own-cid", "", "make the nest a vsock guest itself, with CID `N`; nobody is at the other end")
	cmd.Flags().StringVar(&w.guest, "guest-kernel", "", "kernel `REF` for linux guests in it, or none (default light, built when first asked for)")
	return cmd
}

func newNestRun(a *app) *cobra.Command {
	var tty bool
	cmd := &cobra.Command{
		Use:               "run [--] COMMAND [ARG…]",
		Short:             "Run any command in the nest; its exit code becomes ours",
		ValidArgsFunction: noCompletion,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("nest run: want a command")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return passThrough(a.inNest(cmd.Context(), guest.Command{Args: args, TTY: tty}))
		},
	}
	endFlagsAtName(cmd)
	cmd.Flags().BoolVarP(&tty, "tty", "t", false, "give the command a terminal")
	return cmd
}

func newNestShell(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "shell",
		Aliases:           []string{"ssh"},
		Short:             "A shell in the nest",
		Args:              noArgs,
		ValidArgsFunction: noCompletion,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, tty := terminal(a.host.In)
			return passThrough(a.inNest(cmd.Context(), guest.Command{TTY: tty}))
		},
	}
}

func newNestCp(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "cp FILE… FOLDER",
		Short: "Copy files of this host into a folder of the nest",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usagef("nest cp: want files and a folder of the nest")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := a.nestUp(cmd.Context(), nestWish{})
			if err != nil {
				return err
			}
			last := len(args) - 1
			return n.Files(cmd.Context(), args[last], args[:last]...)
		},
	}
}

// nestJSON is a running nest as `nest ls` prints it.
type nestJSON struct {
	Kernel    string    `json:"kernel"` // uname -r in it
	PID       int       `json:"pid"`    // of its QEMU
	CPUs      int       `json:"cpus"`
	MemoryMiB int       `json:"memory_mib"`
	Started   time.Time `json:"started"`
	Console   string    `json:"console"` // file with the kernel's messages
}

func newNestLs(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "ls",
		Short:             "List the nests that run",
		Args:              noArgs,
		ValidArgsFunction: noCompletion,
		RunE: func(*cobra.Command, []string) error {
			runDir, err := a.nestRunDir()
			if err != nil {
				return err
			}
			running, err := nest.List(runDir)
			if err != nil {
				return err
			}
			nests := make([]nestJSON, len(running))
			rows := make([][]string, len(running))
			for i, n := range running {
				nests[i] = nestJSON{n.Kernel, n.PID, n.CPUs, n.MemoryMiB, n.Started, n.Console}
				rows[i] = []string{n.Kernel, number(uint32(n.CPUs)), mib(n.MemoryMiB), short(time.Since(n.Started)), number(uint32(n.PID)), n.Console}
			}
			return a.print(report{
				data: nests,
				head: []string{"KERNEL", "CPU", "MEM", "UPTIME", "PID", "CONSOLE"},
				wide: 1,
				rows: rows,
				name: func(i int) string { return nests[i].Kernel },
			})
		},
	}
}

func newNestDown(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "down",
		Short:             "End the nest with all that runs in it",
		Args:              noArgs,
		ValidArgsFunction: noCompletion,
		RunE: func(cmd *cobra.Command, _ []string) error {
			runDir, err := a.nestRunDir()
			if err != nil {
				return err
			}
			if err := nest.Down(cmd.Context(), runDir, a.kernelVersion); err != nil {
				return err
			}
			a.tell("nest is down")
			return nil
		},
	}
}
