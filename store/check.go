package store

import (
	"context"
	"errors"
)

// Check reads every page and record of the file, holds the indexes against the
// leases, and fails with [ErrCorrupt], joined for all that is damaged, or as
// [Store.Salvage] does. No file is fine.
func (s *Store) Check(ctx context.Context) error {
	sv, err := s.Salvage(ctx)
	return errors.Join(append(sv.Damage, err)...)
}
