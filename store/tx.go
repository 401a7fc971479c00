package store

import (
	"bytes"
	"cmp"
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
	dirty bool            // something was written
	met   map[string]bool // buckets that were looked at, by path
}

// bucket returns the bucket at path, or nil if there is none. It is called
// inside guard. It fails with [ErrCorrupt].
func (tx *Tx) bucket(path ...string) (*bolt.Bucket, error) {
	b := tx.bolt.Bucket([]byte(path[0]))
	for n := 1; b != nil; n++ {
		if err := tx.sound(b, path[:n]); err != nil {
			return nil, err
		}
		if n == len(path) {
			break
		}
		b = b.Bucket([]byte(path[n]))
	}
	return b, nil
}

// sound fails with [ErrCorrupt] on a bucket whose content was torn off with the
// page it is in: bbolt takes zeros for an empty one, and does not find a key that
// stands behind zeros. It looks at a bucket once, before anything is written to
// it.
func (tx *Tx) sound(b *bolt.Bucket, path []string) error {
	name := strings.Join(path, "/")
	if tx.met[name] {
		return nil
	}
	gone := b.Root() == 0 && b.Stats().InlineBucketInuse == 0
	space := len(path) == 2 && path[0] == bucketSpace
	if gone || space && b.Bucket([]byte(bucketCID)) == nil {
		return corrupt("bucket "+name, "its content is gone")
	}
	tx.meet(name)
	return nil
}

func (tx *Tx) meet(bucket string) {
	if tx.met == nil {
		tx.met = map[string]bool{}
	}
	tx.met[bucket] = true
}

// complete fails with [ErrCorrupt] if one of the buckets is missing that each file
// has.
func (tx *Tx) complete() error {
	return tx.guard(func() error {
		for _, name := range []string{bucketMachine, bucketNetns, bucketSpace} {
			if b, err := tx.bucket(name); b == nil || err != nil {
				return cmp.Or(err, corrupt("bucket "+name, "it is missing"))
			}
		}
		return nil
	})
}

// makeBucket returns the bucket at path and makes what is missing of it.
func (tx *Tx) makeBucket(path ...string) (b *bolt.Bucket, err error) {
	if tx.f == nil || !tx.bolt.Writable() {
		return nil, errReadOnly
	}
	err = tx.guard(func() error {
		var at interface {
			Bucket([]byte) *bolt.Bucket
			CreateBucket([]byte) (*bolt.Bucket, error)
		} = tx.bolt
		for n, name := range path {
			if b = at.Bucket([]byte(name)); b == nil {
				tx.meet(strings.Join(path[:n+1], "/"))
				if b, err = at.CreateBucket([]byte(name)); err != nil {
					return err
				}
			}
			if err := tx.sound(b, path[:n+1]); err != nil {
				return err
			}
			at = b
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
		b, err := tx.bucket(path...)
		if b != nil {
			v = bytes.Clone(b.Get([]byte(key)))
		}
		return err
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
		b, err := tx.bucket(path...)
		if b == nil || b.Get([]byte(key)) == nil {
			return err
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
		b, err := tx.bucket(path[:last]...)
		if b == nil || b.Bucket([]byte(path[last])) == nil {
			return err
		}
		tx.dirty = true
		delete(tx.met, strings.Join(path, "/"))
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
		b, err := tx.bucket(path...)
		if b == nil {
			return err
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
		b, err := tx.bucket(path...)
		if b == nil {
			empty = true
			return err
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
