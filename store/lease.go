package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/vmlaunch/vmlaunch/vsock"
)

// A Lease says who owns a CID in a space. Exactly one of Machine, Freed and
// Foreign is set: it is leased, cooling, or a stranger's.
type Lease struct {
	CID   vsock.CID `json:"cid"`
	Space Space     `json:"space"`

	Machine string    `json:"machine,omitempty"` // the owner
	Taken   time.Time `json:"taken,omitzero"`    // when Machine got it

	Freed time.Time `json:"freed,omitzero"` // when the last owner gave it back
	Last  string    `json:"last,omitempty"` // that owner: may have it back at once

	Foreign string    `json:"foreign,omitempty"` // who, as far as could be found out
	Seen    time.Time `json:"seen,omitzero"`     // when the kernel last refused it
}

func (l Lease) key() string { return cidKey(l.CID) }

func (l Lease) check() error {
	if !l.CID.Guest() {
		return fmt.Errorf("cid is %d", l.CID)
	}
	owners := 0
	for _, set := range []bool{l.Machine != "", !l.Freed.IsZero(), l.Foreign != ""} {
		if set {
			owners++
		}
	}
	if owners != 1 {
		return errors.New("want one of machine, freed and foreign")
	}
	return l.Space.check()
}

// cidKey returns the key of a lease: four bytes, so that keys sort as numbers.
func cidKey(c vsock.CID) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(c)))
}

func leaseShelf(s Space) shelf[Lease] {
	return shelf[Lease]{
		path: []string{bucketSpace, string(s), bucketCID},
		object: func(key string) string {
			if len(key) != 4 {
				return fmt.Sprintf("lease %q in space %s", key, s)
			}
			return fmt.Sprintf("cid %d in space %s", binary.BigEndian.Uint32([]byte(key)), s)
		},
	}
}

// Lease returns what is recorded of c in s. It fails with [fs.ErrNotExist].
func (tx *Tx) Lease(s Space, c vsock.CID) (Lease, error) {
	if err := s.check(); err != nil {
		return Lease{}, err
	}
	return leaseShelf(s).get(tx, cidKey(c))
}

// Leases returns all that is recorded in s, by CID. It fails with [ErrCorrupt].
func (tx *Tx) Leases(s Space) ([]Lease, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	leases, err := leaseShelf(s).all(tx)
	if err != nil {
		return nil, err
	}
	for _, l := range leases {
		if l.Space != s {
			return nil, corrupt(leaseShelf(s).object(l.key()), fmt.Sprintf("it is a lease of space %s", l.Space))
		}
	}
	return leases, nil
}

// PutLease records l in place of what was recorded of its CID. It fails if l is
// not owned by exactly one of a machine, the cool-down and a stranger, and in a
// view.
func (tx *Tx) PutLease(l Lease) error {
	if err := l.check(); err != nil {
		return fmt.Errorf("record cid %d in space %s: %w", l.CID, l.Space, err)
	}
	if err := tx.makeSpace(l.Space); err != nil {
		return err
	}
	return leaseShelf(l.Space).put(tx, l)
}

// DeleteLease forgets c in s, and s with its last lease; none is fine. It fails
// in a view.
func (tx *Tx) DeleteLease(s Space, c vsock.CID) error {
	if err := leaseShelf(s).delete(tx, cidKey(c)); err != nil {
		return err
	}
	switch left, err := tx.entries(leaseShelf(s).path...); {
	case err != nil:
		return err
	case len(left) > 0:
		return nil
	}
	return tx.DeleteSpace(s)
}
