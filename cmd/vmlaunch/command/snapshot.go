package command

import (
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"
)

func newSnapshot(a *app) *cobra.Command {
	return group("snapshot", "What a machine's disks held at a moment, and its memory if it ran: keep it, go back to it",
		newSnapshotCreate(a), newSnapshotLs(a), newSnapshotRestore(a), newSnapshotRm(a))
}

// nameAndTag asks for a machine and a tag; that of a new snapshot can be left out.
func nameAndTag(least int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > 2 {
			return usagef("snapshot %s: want a machine NAME and a TAG, got %d words", cmd.Name(), len(args))
		}
		return validNames(args[:1])
	}
}

func newSnapshotCreate(a *app) *cobra.Command {
	var diskOnly bool
	cmd := &cobra.Command{
		Use:   "create NAME [TAG]",
		Short: "Keep the state of a machine under TAG (default: the time)",
		Long: `Keeps what the disks of a machine hold now, and of a machine that runs also its
memory, for which it stands still. Only what is in the disks' own qcow2 files is
kept: a machine that writes to a raw image has no snapshots.`,
		Args:              nameAndTag(1),
		ValidArgsFunction: a.machineNames(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			tag := "t" + time.Now().UTC().Format("20060102-150405")
			if len(args) == 2 {
				tag = args[1]
			}
			l, err := a.launcher(cmd.Context())
			if err != nil {
				return err
			}
			if err := l.CreateSnapshot(cmd.Context(), args[0], tag, diskOnly); err != nil {
				return err
			}
			a.tell("%s has snapshot %s", args[0], tag)
			return nil
		},
	}
	cmd.Flags().BoolVar(&diskOnly, "disk-only", false, "leave out the memory of a machine that runs: to go back to it is to start it after a power cut")
	return cmd
}

// snapshotJSON is a snapshot as `snapshot ls` prints it.
type snapshotJSON struct {
	Tag         string    `json:"tag"`
	Created     time.Time `json:"created"`
	MemoryBytes int64     `json:"memory_bytes"` // 0 if only of disks
}

func newSnapshotLs(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "ls NAME",
		Short:             "List the snapshots of a machine, oldest first",
		Args:              oneName,
		ValidArgsFunction: a.machineNames(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := a.launcher(cmd.Context())
			if err != nil {
				return err
			}
			found, err := l.Snapshots(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			all := []snapshotJSON{}
			var rows [][]string
			for _, s := range found {
				all = append(all, snapshotJSON{Tag: s.Tag, Created: s.Created, MemoryBytes: s.MemoryBytes})
				memory := "-"
				if s.MemoryBytes > 0 {
					memory = units.BytesSize(float64(s.MemoryBytes))
				}
				rows = append(rows, []string{s.Tag, s.Created.Local().Format(time.DateTime), memory})
			}
			return a.print(report{
				data: all,
				head: []string{"TAG", "CREATED", "MEMORY"},
				rows: rows,
				name: func(i int) string { return all[i].Tag },
			})
		},
	}
}

func newSnapshotRestore(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "restore NAME TAG",
		Short: "Put a machine back to a snapshot; what it wrote since is gone",
		Long: `Puts the disks of a machine back to a snapshot. A machine that runs goes on from
there, with the memory it had; it is refused a snapshot without memory. One that
is stopped gets the disks only, also of a snapshot with memory.`,
		Args:              nameAndTag(2),
		ValidArgsFunction: a.machineNames(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := a.launcher(cmd.Context())
			if err != nil {
				return err
			}
			if err := l.RestoreSnapshot(cmd.Context(), args[0], args[1]); err != nil {
				return err
			}
			a.tell("%s is back at snapshot %s", args[0], args[1])
			return nil
		},
	}
}

func newSnapshotRm(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "rm NAME TAG",
		Short:             "Forget a snapshot of a machine",
		Args:              nameAndTag(2),
		ValidArgsFunction: a.machineNames(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := a.launcher(cmd.Context())
			if err != nil {
				return err
			}
			if err := l.RemoveSnapshot(cmd.Context(), args[0], args[1]); err != nil {
				return err
			}
			a.tell("snapshot %s of %s removed", args[1], args[0])
			return nil
		},
	}
}
