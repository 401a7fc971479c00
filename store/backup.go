package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Backup returns the state file as it is between two transactions. It fails with
// [fs.ErrNotExist] if there is none, with [ErrCorrupt] if it is damaged, so that no
// good copy is replaced by it, and as [Store.Salvage] does.
func (s *Store) Backup(ctx context.Context) ([]byte, error) {
	b, err := s.content(ctx)
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, openError(s.Path(), fs.ErrNotExist)
	}
	if _, err := sane(s.Path(), b); err != nil {
		return nil, err
	}
	return b, nil
}

// BackupTo writes [Store.Backup] to a file (0600), whole or not at all, and returns
// its size in bytes. Without force it fails with [fs.ErrExist] if there is one.
func (s *Store) BackupTo(ctx context.Context, path string, force bool) (int, error) {
	b, err := s.Backup(ctx)
	if err != nil {
		return 0, err
	}
	if !force {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // the name is ours from here on
		if errors.Is(err, fs.ErrExist) {
			return 0, fmt.Errorf("back up to %s: %w (choose another name, or --force)", path, cause(err))
		}
		if err != nil {
			return 0, fmt.Errorf("back up to %s: %w", path, cause(err))
		}
		f.Close()
	}
	if err := replaceFile(path, b); err != nil {
		if !force {
			os.Remove(path)
		}
		return 0, fmt.Errorf("back up to %s: %w", path, cause(err))
	}
	return len(b), nil
}

// Restore puts a copy of the file at path in place of the state file, in one step.
// The old one stays beside it: kept is its path, "" if there was none. Anything
// that fails leaves the old file where it was.
//
// It fails with [ErrCorrupt] and [*SchemaError] if the file is no whole state or a
// newer one, and, without force, with [*RunningError] if a machine runs that the
// file does not know. It also fails as [Store.Rebuild] does.
func (s *Store) Restore(ctx context.Context, path string, force bool) (kept string, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("restore %s: %w", path, cause(err))
	}
	then, err := sane(path, b)
	if err != nil {
		return "", fmt.Errorf("restore %s: %w", path, err)
	}
	l, err := s.lockForWriting(ctx)
	if err != nil {
		return "", err
	}
	defer l.Close()
	now, err := s.present(ctx)
	if err != nil {
		return "", err
	}
	if names := forgotten(now.Machines, then.Machines); len(names) > 0 && !force {
		return "", &RunningError{File: path, Machines: names}
	}
	return s.replace("before-restore", func(draft string) error { return writeFile(draft, b) })
}

// sane returns what the state file b says. It fails with [ErrCorrupt] if any of it
// is damaged, and with [*SchemaError].
func sane(path string, b []byte) (Salvage, error) {
	sv, err := salvage(path, b)
	return sv, errors.Join(append(sv.Damage, err)...)
}

// forgotten returns those of now that run and are not among then.
func forgotten(now, then []Machine) []string {
	known := map[string]bool{}
	for _, m := range then {
		known[m.UUID] = true
	}
	var names []string
	for _, m := range now {
		if !known[m.UUID] && m.QEMU.Alive() {
			names = append(names, m.Name)
		}
	}
	return names
}

// A RunningError says that a file does not know machines that run, so nobody
// would stop them or keep their CIDs. errors.Is(err, fs.ErrExist) holds.
type RunningError struct {
	File     string
	Machines []string
}

func (e *RunningError) Error() string {
	return fmt.Sprintf("restore %s: machines that run are not in it: %s (stop them, or --force)", e.File, strings.Join(e.Machines, ", "))
}

// Is makes every RunningError an [fs.ErrExist].
func (e *RunningError) Is(target error) bool { return target == fs.ErrExist }
