package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// A migration turns one layout into the next inside the caller's transaction.
type migration func(*Tx) error

// migrations returns the steps: step i turns schema i into schema i+1. A step is
// never edited once released. A new field in a record is a new schema too, since
// an older vmlaunch would drop it; its step may do nothing.
func migrations() []migration { return []migration{createBuckets} }

// newest returns the schema this program writes.
func newest() uint32 { return uint32(len(migrations())) }

// createBuckets makes the buckets of schema 1.
func createBuckets(tx *Tx) error {
	for _, name := range []string{bucketSpace, bucketMachine, bucketNetns} {
		if _, err := tx.makeBucket(name); err != nil {
			return err
		}
	}
	return nil
}

// migrate brings the file to the schema after the last of steps in one
// transaction: a crash leaves the old layout or the new one. A file that holds
// something is copied to PATH.schema-N first. It fails with [*SchemaError] if the
// file is newer.
func (f *file) migrate(steps []migration) error {
	tx, err := f.begin(true)
	if err != nil {
		return err
	}
	defer f.rollback(tx)
	have, err := tx.schema()
	if err != nil {
		return err
	}
	switch err := f.admit(have, uint32(len(steps))); {
	case err == nil:
		return nil
	case !errors.Is(err, errOldSchema):
		return err
	}
	if have > 0 {
		if err := f.backup(tx, have); err != nil {
			return err
		}
	}
	for i, step := range steps[have:] {
		if err := step(tx); err != nil {
			return fmt.Errorf("migrate state %s from schema %d: %w", f.path, have+uint32(i), err)
		}
	}
	if err := tx.setSchema(uint32(len(steps))); err != nil {
		return err
	}
	return f.commit(tx)
}

// admit decides whether a program that knows schemas up to know may use a file
// of schema have: [*SchemaError] if it is newer, errOldSchema if it needs a
// migration first, [ErrCorrupt] if it is a database but none of ours.
func (f *file) admit(have, know uint32) error {
	switch {
	case have == 0 && !f.fresh:
		return corrupt("state "+f.path, "it has no schema")
	case have > know:
		return &SchemaError{Path: f.path, Have: have, Want: know}
	case have < know:
		return errOldSchema
	}
	return nil
}

// backup copies the file as tx sees it, once: an earlier copy of the same schema
// is from an earlier try of the same migration and is replaced.
func (f *file) backup(tx *Tx, schema uint32) error {
	path := fmt.Sprintf("%s.schema-%d", f.path, schema)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keep old state: %w", err)
	}
	if err := f.guard(func() error { return tx.bolt.CopyFile(path, 0o600) }); err != nil {
		return fmt.Errorf("keep old state %s: %w", path, err)
	}
	return nil
}

// schema reads which layout the file has; 0 is a file without one.
func (tx *Tx) schema() (uint32, error) {
	v, err := tx.value(keySchema, bucketMeta)
	if err != nil || v == nil {
		return 0, err
	}
	if len(v) != 4 {
		return 0, corrupt("state "+tx.f.path, fmt.Sprintf("schema is %d bytes, want 4", len(v)))
	}
	return binary.BigEndian.Uint32(v), nil
}

func (tx *Tx) setSchema(n uint32) error {
	return tx.setValue(keySchema, binary.BigEndian.AppendUint32(nil, n), bucketMeta)
}
