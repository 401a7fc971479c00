package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/image"
	"github.com/vmlaunch/vmlaunch/store"
)

// A keeper is an image of a machine that keeps its part of each snapshot.
type keeper struct{ node, path string }

// keepers returns the images that a machine writes. It fails with a
// [*MissingError] if one of them can't keep snapshots, or if there is none: a snapshot
// is of all that the guest can have written, or it is none. It is a pure function.
func keepers(spec configs.Machine, f folder) ([]keeper, error) {
	need := fmt.Sprintf("keep snapshots of machine %q", spec.Name)
	var all []keeper
	if spec.Guest() == configs.GuestDisk {
		if spec.Ephemeral {
			return nil, &MissingError{What: "disk that outlives a stop", Need: need, Hint: "make it without --ephemeral"}
		}
		all = append(all, keeper{nodeMachine, f.overlay(false)})
		if spec.Firmware == configs.FirmwareUEFI {
			all = append(all, keeper{nodeVars, f.nvram(false)})
		}
	}
	for i, d := range spec.Disks {
		switch {
		case d.ReadOnly:
		case d.Format != configs.FormatQCOW2:
			return nil, &MissingError{What: fmt.Sprintf("qcow2 image in %q", d.Path), Need: need, Hint: "qemu-img convert -O qcow2, or --disk ro:PATH"}
		default:
			all = append(all, keeper{nodeExtra(i), d.Path})
		}
	}
	if len(all) == 0 {
		return nil, &MissingError{What: "disk that the guest writes", Need: need, Hint: "--disk FILE.qcow2 adds one"}
	}
	return all, nil
}

// A shelf is where the snapshots of one machine are kept: in its images, to which
// one comes by way of its QEMU while that has them open.
type shelf interface {
	list(context.Context) ([]image.Snapshot, error)
	create(ctx context.Context, tag string, memory bool) error
	restore(ctx context.Context, tag string) error
	remove(ctx context.Context, tag string) error
}

// onShelf runs do on the snapshots of the machine called name, under its lock.
func (l *Launcher) onShelf(ctx context.Context, name string, do func(store.Machine, shelf) error) error {
	k, err := l.lockMachine(ctx, name)
	if err != nil {
		return err
	}
	defer k.release()
	m, err := l.record(ctx, name)
	if err != nil {
		return err
	}
	images, err := keepers(m.Spec, l.folder(name))
	if err != nil {
		return err
	}
	if !m.QEMU.Alive() {
		if err := l.unrecorded(name, m.UUID); err != nil {
			return err
		}
		return do(m, idleShelf(images))
	}
	c, err := l.QMP(ctx, name)
	if err != nil {
		return err
	}
	defer c.Close()
	return do(m, liveShelf{images, c})
}

// Snapshots returns the snapshots of the machine called name, oldest first. It fails
// with [fs.ErrNotExist] if there is no such machine, with [errors.ErrUnsupported] if
// it can't have any, and with a [*MissingError] without qemu-img.
func (l *Launcher) Snapshots(ctx context.Context, name string) (all []image.Snapshot, err error) {
	err = l.onShelf(ctx, name, func(_ store.Machine, s shelf) (err error) {
		all, err = s.list(ctx)
		return err
	})
	return all, err
}

// CreateSnapshot keeps what the disks of the machine called name hold now, under a
// new tag; of one that runs also its memory, unless diskOnly. While the memory is
// written the machine stands still. It fails as [Launcher.Snapshots] does, with
// configs.Errors for a tag that is none, with [fs.ErrExist] if there is one of that
// tag, and if QEMU can't save a device of the machine.
func (l *Launcher) CreateSnapshot(ctx context.Context, name, tag string, diskOnly bool) error {
	return l.onSnapshot(ctx, name, tag, false, func(m store.Machine, s shelf, _ image.Snapshot) error {
		return s.create(ctx, tag, !diskOnly)
	})
}

// RestoreSnapshot puts the disks of the machine called name back to a snapshot, and
// the memory of one that runs: it goes on from there. A machine that runs is not put
// back to a snapshot without memory ([*PhaseError]): its guest would write what it
// remembers of another disk. One that is down is put back to the disks of any, as
// after a power cut. It fails as [Launcher.Snapshots] does, and with [fs.ErrNotExist] if
// there is no such snapshot.
func (l *Launcher) RestoreSnapshot(ctx context.Context, name, tag string) error {
	return l.onSnapshot(ctx, name, tag, true, func(m store.Machine, s shelf, snap image.Snapshot) error {
		if m.QEMU.Alive() && snap.MemoryBytes == 0 {
			return &PhaseError{Name: name, Have: Running, Want: "stopped", Hint: "snapshot " + tag + " has no memory: vmlaunch stop " + name}
		}
		return s.restore(ctx, tag)
	})
}

// RemoveSnapshot forgets a snapshot of the machine called name. It fails as
// [Launcher.RestoreSnapshot] does.
func (l *Launcher) RemoveSnapshot(ctx context.Context, name, tag string) error {
	return l.onSnapshot(ctx, name, tag, true, func(_ store.Machine, s shelf, _ image.Snapshot) error {
		return s.remove(ctx, tag)
	})
}

// onSnapshot is onShelf for one tag, that has to be there or not.
func (l *Launcher) onSnapshot(ctx context.Context, name, tag string, there bool, do func(store.Machine, shelf, image.Snapshot) error) error {
	if err := configs.ValidTag(tag); err != nil {
		return configs.Errors{{Field: "snapshot", Value: tag, Problem: err.Error()}}
	}
	return l.onShelf(ctx, name, func(m store.Machine, s shelf) error {
		all, err := s.list(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(s image.Snapshot) bool { return s.Tag == tag })
		switch {
		case i < 0 && there:
			return fmt.Errorf("snapshot %q of machine %q: %w (vmlaunch snapshot ls %s)", tag, name, fs.ErrNotExist, name)
		case i >= 0 && !there:
			return fmt.Errorf("snapshot %q of machine %q: %w (vmlaunch snapshot rm %s %s)", tag, name, fs.ErrExist, name, tag)
		case i < 0:
			return do(m, s, image.Snapshot{})
		}
		return do(m, s, all[i])
	})
}

// An idleShelf is of a machine that is down.
type idleShelf []keeper

func (s idleShelf) list(ctx context.Context) ([]image.Snapshot, error) {
	return image.Snapshots(ctx, s[0].path) // each has them all
}

func (s idleShelf) create(ctx context.Context, tag string, _ bool) error {
	for i, k := range s {
		if err := image.CreateSnapshot(ctx, k.path, tag); err != nil {
			for _, done := range s[:i] {
				err = errors.Join(err, image.DeleteSnapshot(context.WithoutCancel(ctx), done.path, tag))
			}
			return err
		}
	}
	return nil
}

func (s idleShelf) restore(ctx context.Context, tag string) error {
	for _, k := range s { // none is put back unless all can be
		all, err := image.Snapshots(ctx, k.path)
		if err == nil && !slices.ContainsFunc(all, func(s image.Snapshot) bool { return s.Tag == tag }) {
			err = fmt.Errorf("snapshot %q in %q: %w", tag, k.path, fs.ErrNotExist)
		}
		if err != nil {
			return err
		}
	}
	for _, k := range s {
		if err := image.RestoreSnapshot(context.WithoutCancel(ctx), k.path, tag); err != nil {
			return err
		}
	}
	return nil
}

// remove removes the first one last: while it is there the rest can be tried again.
func (s idleShelf) remove(ctx context.Context, tag string) error {
	for _, k := range slices.Backward(s) {
		all, err := image.Snapshots(ctx, k.path)
		if err == nil && slices.ContainsFunc(all, func(s image.Snapshot) bool { return s.Tag == tag }) {
			err = image.DeleteSnapshot(ctx, k.path, tag)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
