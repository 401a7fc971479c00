package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Rebuild makes a new state file by fn and puts it in place of the one there is,
// damaged or not, in one step. The old one stays beside it: kept is its path, ""
// if there was none. If fn fails, and after a crash at any point, the old file is
// where it was.
//
// It fails with [*SchemaError] if a newer vmlaunch wrote the old file, with
// [ErrLocked], with [fs.ErrPermission], and if the new file could not be written.
func (s *Store) Rebuild(ctx context.Context, fn func(*Tx) error) (kept string, err error) {
	l, err := s.lockForWriting(ctx)
	if err != nil {
		return "", err
	}
	defer l.Close()
	if _, err := s.present(ctx); err != nil {
		return "", err
	}
	return s.replace("damaged", func(draft string) error {
		return build(draft, func(tx *Tx) error {
			if err := fn(tx); err != nil {
				return err
			}
			return tx.passGenerations()
		})
	})
}

// present returns what can be read of the file there is. The caller holds the
// lock file. It fails with [*SchemaError].
func (s *Store) present(ctx context.Context) (Salvage, error) {
	b, err := readFile(ctx, s.Path())
	if errors.Is(err, fs.ErrNotExist) {
		return Salvage{}, nil
	}
	return salvageRead(s.Path(), b, err)
}

// replace puts the file that write makes in place of the one there is, which
// stays as kept. The caller holds the lock file.
func (s *Store) replace(why string, write func(draft string) error) (kept string, err error) {
	draft := s.Path() + ".new"
	defer os.Remove(draft) // gone already if all went well
	if err := write(draft); err != nil {
		return "", fmt.Errorf("make new state %s: %w", s.Path(), err)
	}
	kept, err = keep(s.Path(), why, time.Now())
	if err != nil {
		return "", fmt.Errorf("keep old state: %w", err)
	}
	if err := moveTo(draft, s.Path()); err != nil {
		return "", fmt.Errorf("replace state %s: %w", s.Path(), err)
	}
	return kept, nil
}

// keep gives the file at path one more name, PATH.why-time, which no file has
// had, and returns that; "" where there is no file.
func keep(path, why string, now time.Time) (string, error) {
	stem := path + "." + why + "-" + now.UTC().Format("20060102T150405Z")
	kept := stem
	for n := 2; ; n++ {
		err := os.Link(path, kept)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return "", nil
		case err == nil:
			return kept, syncDir(filepath.Dir(path))
		case !errors.Is(err, fs.ErrExist):
			return "", err
		}
		kept = stem + "-" + strconv.Itoa(n)
	}
}

// passGenerations lets [Tx.Generation] go on behind those of the leases there
// are.
func (tx *Tx) passGenerations() error {
	leases, err := tx.AllLeases()
	if err != nil {
		return err
	}
	most := uint64(0)
	for _, l := range leases {
		most = max(most, l.Generation)
	}
	have, err := tx.Generation()
	if err != nil || have > most {
		return err
	}
	return tx.setGeneration(most)
}
