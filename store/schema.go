package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
)

// A migration turns one layout into the next inside the caller's transaction.
type migration func(*Tx) error

// migrations returns the steps: step i turns schema i into schema i+1. A step is
// never edited once released. A new field in a record is a new schema too, since
// an older vmlaunch would drop it; its step may do nothing.
func migrations() []migration { return []migration{createBuckets, indexLeases} }

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

// indexLeases makes the indexes of schema 2, which leases of schema 1 lack. A
// machine that was recorded with two CIDs in one space keeps the one its record
// has, or the lower one.
func indexLeases(tx *Tx) error {
	leases, err := tx.AllLeases()
	if err != nil {
		return err
	}
	for _, l := range leases {
		if err := tx.indexLease(l); err != nil {
			return err
		}
	}
	return nil
}

func (tx *Tx) indexLease(l Lease) error {
	if l.Machine == "" {
		return tx.PutLease(l)
	}
	m, err := tx.Machine(l.Machine)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	other := err == nil && m.Space == l.Space && m.CID != 0 && m.CID != l.CID
	had, err := tx.Owned(l.Space, l.Machine)
	if err != nil {
		return err
	}
	if other || had != 0 && had != l.CID {
		return tx.DeleteLease(l.Space, l.CID)
	}
	return tx.PutLease(l)
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

// backup copies the file as tx sees it, whole or not at all. An earlier copy of
// the same schema is from an earlier try of the same migration and is replaced.
func (f *file) backup(tx *Tx, schema uint32) error {
	path := fmt.Sprintf("%s.schema-%d", f.path, schema)
	var b bytes.Buffer
	err := f.guard(func() error { _, err := tx.bolt.WriteTo(&b); return err })
	if err == nil {
		err = replaceFile(path, b.Bytes())
	}
	if err != nil {
		return fmt.Errorf("keep old state %s: %w", path, cause(err))
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

// Boot returns the boot id that was last recorded with [Tx.SetBoot], "" if none
// was. It fails with [ErrCorrupt].
func (tx *Tx) Boot() (string, error) {
	v, err := tx.value(keyBoot, bucketMeta)
	return string(v), err
}

// SetBoot records the boot in which the file was last put right as a whole. It
// fails in a view.
func (tx *Tx) SetBoot(id string) error { return tx.setValue(keyBoot, []byte(id), bucketMeta) }

func (tx *Tx) setSchema(n uint32) error {
	return tx.setValue(keySchema, binary.BigEndian.AppendUint32(nil, n), bucketMeta)
}
