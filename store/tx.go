package store

import (
	"bytes"
	"fmt"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// The names in the file. docs/STATE.md draws them.
const (
	bucketMeta    = "meta"
	bucketSpace   = "space"
	bucketMachine = "machine"
	bucketNetns   = "netns"
	bucketCID     = "cid" // inside a space

	keySchema     = "schema"     // in meta
	keyGeneration = "generation" // in meta
	keyBoot       = "boot"       // in meta
	keyIdentity   = "identity"   // in a space
	keyMode       = "mode"       // in a space
)

// A Tx is one transaction. It is valid until the function it was given to
// returns, and is not safe for concurrent use.
type Tx struct {
	f     *file // nil where there is no state file: everything is empty
	bolt  *bolt.Tx
	dirty bool // something was written
}

// bucket returns the bucket at path, or nil if there is none. It is called
// inside guard.
func (tx *Tx) bucket(path ...string) *bolt.Bucket {
	b := tx.bolt.Bucket([]byte(path[0]))
	for _, name := range path[1:] {
		if b == nil {
			return nil
		}
		b = b.Bucket([]byte(name))
	}
	return b
}

// makeBucket returns the bucket at path and makes what is missing of it.
func (tx *Tx) makeBucket(path ...string) (b *bolt.Bucket, err error) {
	if tx.f == nil || !tx.bolt.Writable() {
		return nil, errReadOnly
	}
	err = tx.guard(func() error {
		if b, err = tx.bolt.CreateBucketIfNotExists([]byte(path[0])); err != nil {
			return err
		}
		for _, name := range path[1:] {
			if b, err = b.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		tx.dirty = true
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("make bucket %s: %w", strings.Join(path, "/"), err)
	}
	return b, nil
}

// value returns a copy of the value at key in the bucket at path, nil if there
// is none: what bbolt returns is the mapped file, and may fault when looked at.
func (tx *Tx) value(key string, path ...string) (v []byte, err error) {
	err = tx.guard(func() error {
		if b := tx.bucket(path...); b != nil {
			v = bytes.Clone(b.Get([]byte(key)))
		}
		return nil
	})
	return v, err
}

// setValue writes the value at key in the bucket at path, which is made.
func (tx *Tx) setValue(key string, v []byte, path ...string) error {
	b, err := tx.makeBucket(path...)
	if err != nil {
		return err
	}
	if err := tx.guard(func() error { return b.Put([]byte(key), v) }); err != nil {
		return fmt.Errorf("write %s/%s: %w", strings.Join(path, "/"), key, err)
	}
	return nil
}

// remove takes the value at key out of the bucket at path; none is fine.
func (tx *Tx) remove(key string, path ...string) error {
	err := tx.guard(func() error {
		b := tx.bucket(path...)
		if b == nil || b.Get([]byte(key)) == nil {
			return nil
		}
		if !b.Writable() {
			return errReadOnly
		}
		tx.dirty = true
		return b.Delete([]byte(key))
	})
	if err != nil {
		return fmt.Errorf("remove %s/%s: %w", strings.Join(path, "/"), key, err)
	}
	return nil
}

// removeBucket takes the bucket at path out with all it holds; none is fine.
func (tx *Tx) removeBucket(path ...string) error {
	last := len(path) - 1
	err := tx.guard(func() error {
		b := tx.bucket(path[:last]...)
		if b == nil || b.Bucket([]byte(path[last])) == nil {
			return nil
		}
		tx.dirty = true
		return b.DeleteBucket([]byte(path[last]))
	})
	if err != nil {
		return fmt.Errorf("remove bucket %s: %w", strings.Join(path, "/"), err)
	}
	return nil
}

// An entry is one key of a bucket; value is nil where a bucket is below it.
type entry struct {
	key   string
	value []byte
}

// entries returns copies of all entries of the bucket at path in key order.
func (tx *Tx) entries(path ...string) (all []entry, err error) {
	err = tx.guard(func() error {
		b := tx.bucket(path...)
		if b == nil {
			return nil
		}
		return b.ForEach(func(k, v []byte) error {
			all = append(all, entry{string(k), bytes.Clone(v)})
			return nil
		})
	})
	return all, err
}

// empty reports whether the bucket at path holds nothing, or is not there.
func (tx *Tx) empty(path ...string) (empty bool, err error) {
	err = tx.guard(func() error {
		b := tx.bucket(path...)
		if b == nil {
			empty = true
			return nil
		}
		k, _ := b.Cursor().First()
		empty = k == nil
		return nil
	})
	return empty || tx.f == nil, err
}

// guard runs fn, which does nothing but call bbolt. Without a state file it does
// not run fn.
func (tx *Tx) guard(fn func() error) error {
	if tx.f == nil {
		return nil
	}
	return tx.f.guard(fn)
}
