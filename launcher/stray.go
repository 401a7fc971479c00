package launcher

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"github.com/vmlaunch/vmlaunch/internal/proc"
)

// killStrays ends the QEMUs with this UUID, whoever recorded them or not: a
// launcher that is killed between the start of its QEMU and the record of its
// pid leaves one. A UUID is used for one start only.
func killStrays(ctx context.Context, uuid string) error {
	ids, err := strays(uuid)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := kill(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// strays returns the processes whose command line has -uuid with this value;
// none if it is empty.
func strays(uuid string) ([]proc.ID, error) {
	all, err := byUUID()
	if err != nil || uuid == "" {
		return nil, err
	}
	return all[uuid], nil
}

// byUUID returns the processes that have a -uuid on their command line, by its
// value.
func byUUID() (map[string][]proc.ID, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	found := map[string][]proc.ID{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		id, err := proc.Identify(pid)
		if errors.Is(err, proc.ErrGone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		// The name was taken before the command line was read: a signal to it
		// reaches the process that has this command line, or none.
		args, err := proc.Cmdline(pid)
		if i := slices.Index(args, "-uuid"); err == nil && i >= 0 && i+1 < len(args) {
			found[args[i+1]] = append(found[args[i+1]], id)
		}
	}
	return found, nil
}

// unrecorded fails with an [*UnrecordedError] if the run folder of the machine
// called name is that of a QEMU that runs, and not of the one whose UUID is
// recorded ("" for none).
func (l *Launcher) unrecorded(name, recorded string) error {
	uuid, err := os.ReadFile(l.folder(name).marker())
	if errors.Is(err, fs.ErrNotExist) || err == nil && string(uuid) == recorded {
		return nil
	}
	if err != nil {
		return err
	}
	ids, err := strays(string(uuid))
	if err != nil || len(ids) == 0 {
		return err
	}
	return &UnrecordedError{name, ids[0]}
}
