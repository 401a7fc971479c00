package store

import (
	"context"
	"errors"
)

// Check reads every record of the file, holds the indexes against the leases, and fails with [ErrCorrupt], joined for
// all that are damaged, or as [Store.View] does. No file is fine.
func (s *Store) Check(ctx context.Context) error {
	return s.View(ctx, func(tx *Tx) error {
		_, machines := tx.Machines()
		_, netnses := tx.Netnses()
		spaces, err := tx.Spaces()
		errs := []error{machines, netnses, err}
		for _, sp := range spaces {
			leases, err := tx.Leases(sp)
			if err == nil {
				err = tx.checkIndexes(sp, leases)
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}
