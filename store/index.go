package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/vmlaunch/vmlaunch/vsock"
)

// Indexes of a space, beside its leases. They make what an allocation asks
// independent of how many leases there are.
const (
	bucketOwner = "owner" // machine name → its CID
	bucketFreed = "freed" // time and CID of what is cooling → nothing
	bucketSeen  = "seen"  // time and CID of what is a stranger's → nothing
	bucketFor   = "for"   // machine name → the CID that is reserved for it
)

// indexEntries returns what the indexes of l's space say of l.
func indexEntries(l Lease) []item {
	var all []item
	add := func(bucket, key string, value []byte) {
		all = append(all, item{[]string{bucketSpace, string(l.Space), bucket}, key, value})
	}
	switch {
	case l.Machine != "":
		add(bucketOwner, l.Machine, []byte(l.key()))
	case !l.Freed.IsZero():
		add(bucketFreed, timeKey(l.Freed)+l.key(), []byte{})
	case l.Foreign != "":
		add(bucketSeen, timeKey(l.Seen)+l.key(), []byte{})
	}
	if l.Reserved != nil && l.Reserved.For != "" {
		add(bucketFor, l.Reserved.For, []byte(l.key()))
	}
	return all
}

// timeKey sorts as time does, from 1970 on.
func timeKey(t time.Time) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(max(0, t.UnixNano()))))
}

// Owned returns the CID that machine has in s, 0 if it has none. It fails with
// [ErrCorrupt].
func (tx *Tx) Owned(s Space, machine string) (vsock.CID, error) {
	return tx.indexed(s, bucketOwner, machine)
}

// ReservedFor returns the CID that is reserved for machine in s, 0 if none is. It
// fails with [ErrCorrupt].
func (tx *Tx) ReservedFor(s Space, machine string) (vsock.CID, error) {
	return tx.indexed(s, bucketFor, machine)
}

func (tx *Tx) indexed(s Space, bucket, machine string) (vsock.CID, error) {
	if err := s.check(); err != nil {
		return 0, err
	}
	v, err := tx.value(machine, bucketSpace, string(s), bucket)
	if err != nil || v == nil {
		return 0, err
	}
	c, err := keyCID(v)
	if err == nil && !c.Guest() {
		err = fmt.Errorf("cid is %d", c)
	}
	if err != nil {
		return 0, corrupt(fmt.Sprintf("index %s of %q in space %s", bucket, machine, s), err)
	}
	return c, nil
}

// FreedBefore returns up to most CIDs of s that are cooling since before t, those
// freed first before the others. It fails with [ErrCorrupt].
func (tx *Tx) FreedBefore(s Space, t time.Time, most int) ([]vsock.CID, error) {
	return tx.before(t, most, bucketSpace, string(s), bucketFreed)
}

// SeenBefore returns up to most CIDs of s that are strangers' and were not met
// since before t, in their order. It fails with [ErrCorrupt].
func (tx *Tx) SeenBefore(s Space, t time.Time, most int) ([]vsock.CID, error) {
	return tx.before(t, most, bucketSpace, string(s), bucketSeen)
}

func (tx *Tx) before(t time.Time, most int, path ...string) (cids []vsock.CID, err error) {
	end := []byte(timeKey(t))
	err = tx.guard(func() error {
		b, err := tx.bucket(path...)
		if b == nil {
			return err
		}
		c := b.Cursor()
		for k, _ := c.First(); k != nil && bytes.Compare(k, end) < 0 && len(cids) < most; k, _ = c.Next() {
			if len(k) != len(end)+4 {
				return corrupt(fmt.Sprintf("index %q", path), fmt.Sprintf("a key of %d bytes", len(k)))
			}
			cid, err := keyCID(k[len(end):])
			if err != nil {
				return err
			}
			cids = append(cids, cid)
		}
		return nil
	})
	return cids, err
}

// Generation returns a number that no earlier call on this file has returned, for
// [Lease.Generation]. It fails in a view.
func (tx *Tx) Generation() (uint64, error) {
	v, err := tx.value(keyGeneration, bucketMeta)
	if err != nil {
		return 0, err
	}
	var n uint64
	switch len(v) {
	case 0:
	case 8:
		n = binary.BigEndian.Uint64(v)
	default:
		return 0, corrupt("generation", fmt.Sprintf("%d bytes, want 8", len(v)))
	}
	n++
	return n, tx.setGeneration(n)
}

func (tx *Tx) setGeneration(n uint64) error {
	return tx.setValue(keyGeneration, binary.BigEndian.AppendUint64(nil, n), bucketMeta)
}

// checkIndexes asks that index, all entries of all indexes by their names, says
// what leases say. It fails with [ErrCorrupt].
func checkIndexes(leases []Lease, index map[string]item) error {
	for _, l := range leases {
		for _, want := range indexEntries(l) {
			if have, ok := index[want.String()]; !ok || !bytes.Equal(have.value, want.value) {
				return corrupt(leaseShelf(l.Space).object(l.key()), fmt.Sprintf("index %q does not say so", want))
			}
			delete(index, want.String())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(index)) {
		return corrupt(fmt.Sprintf("index %q", name), "no lease says that")
	}
	return nil
}
