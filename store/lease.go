package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/vmlaunch/vmlaunch/vsock"
)

// A Lease says whose a CID is in a space: it is leased, cooling, a stranger's,
// or reserved. A reserved one may at the same time be leased by the machine it is
// reserved for; the other states exclude each other.
type Lease struct {
	CID   vsock.CID `json:"cid"`
	Space Space     `json:"space"`

	Machine    string    `json:"machine,omitempty"`    // the owner
	Taken      time.Time `json:"taken,omitzero"`       // when Machine got it
	Generation uint64    `json:"generation,omitempty"` // of Machine's lease: no other one in this file has it

	Freed time.Time `json:"freed,omitzero"` // when the last owner gave it back
	Last  string    `json:"last,omitempty"` // that owner: may have it back at once

	Foreign string    `json:"foreign,omitempty"` // who, as far as could be found out
	Seen    time.Time `json:"seen,omitzero"`     // when the kernel last refused it

	Reserved *Reservation `json:"reserved,omitempty"` // kept out of the choice
}

// A Reservation keeps a CID from everybody but one machine, or from all of ours.
type Reservation struct {
	For   string    `json:"for,omitempty"`  // the machine that may have it; "" for none of ours
	Note  string    `json:"note,omitempty"` // why, in the words of who made it
	Since time.Time `json:"since,omitzero"`
}

func (l Lease) key() string { return cidKey(l.CID) }

func (l Lease) check() error {
	if !l.CID.Guest() {
		return fmt.Errorf("cid is %d", l.CID)
	}
	states := 0
	for _, set := range []bool{l.Machine != "", !l.Freed.IsZero(), l.Foreign != "", l.Reserved != nil && l.Machine == ""} {
		if set {
			states++
		}
	}
	if states != 1 {
		return errors.New("want one of machine, freed, foreign and reserved")
	}
	if r := l.Reserved; r != nil && l.Machine != "" && r.For != l.Machine {
		return fmt.Errorf("reserved for %q, leased by %q", r.For, l.Machine)
	}
	return l.Space.check()
}

// cidKey returns the key of a lease: four bytes, so that keys sort as numbers.
func cidKey(c vsock.CID) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(c)))
}

// keyCID is the inverse of cidKey.
func keyCID(key []byte) (vsock.CID, error) {
	if len(key) != 4 {
		return 0, fmt.Errorf("a CID of %d bytes, want 4", len(key))
	}
	return vsock.CID(binary.BigEndian.Uint32(key)), nil
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
	l, err := leaseShelf(s).get(tx, cidKey(c))
	if err == nil && l.Space != s {
		return Lease{}, misplaced(s, l)
	}
	return l, err
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
			return nil, misplaced(s, l)
		}
	}
	return leases, nil
}

// AllLeases returns all that is recorded, by space and CID. It fails with
// [ErrCorrupt].
func (tx *Tx) AllLeases() ([]Lease, error) {
	spaces, err := tx.Spaces()
	if err != nil {
		return nil, err
	}
	var all []Lease
	for _, s := range spaces {
		leases, err := tx.Leases(s)
		if err != nil {
			return nil, err
		}
		all = append(all, leases...)
	}
	return all, nil
}

func misplaced(s Space, l Lease) error {
	return corrupt(leaseShelf(s).object(l.key()), fmt.Sprintf("it is a lease of space %s", l.Space))
}

// PutLease records l in place of what was recorded of its CID. It fails if l is
// not in exactly one state, if its machine has another CID in the space or has
// another one reserved, and in a view.
func (tx *Tx) PutLease(l Lease) error {
	if err := l.check(); err != nil {
		return fmt.Errorf("record %s: %w", leaseShelf(l.Space).object(l.key()), err)
	}
	if err := tx.unindex(l.Space, l.CID); err != nil {
		return err
	}
	if err := tx.unique(l); err != nil {
		return err
	}
	if err := tx.makeSpace(l.Space); err != nil {
		return err
	}
	if err := leaseShelf(l.Space).put(tx, l); err != nil {
		return err
	}
	return tx.index(l)
}

// unique fails if l's machine has another CID, or another reservation, in its
// space.
func (tx *Tx) unique(l Lease) error {
	object := leaseShelf(l.Space).object(l.key())
	if l.Machine != "" {
		c, err := tx.Owned(l.Space, l.Machine)
		if err != nil {
			return err
		}
		if c != 0 && c != l.CID {
			return fmt.Errorf("record %s: machine %q has cid %d there", object, l.Machine, c)
		}
	}
	if r := l.Reserved; r != nil && r.For != "" {
		c, err := tx.ReservedFor(l.Space, r.For)
		if err != nil {
			return err
		}
		if c != 0 && c != l.CID {
			return fmt.Errorf("record %s: cid %d is reserved for machine %q there: %w", object, c, r.For, fs.ErrExist)
		}
	}
	return nil
}

// DeleteLease forgets c in s, and s with its last lease; none is fine. It fails
// in a view.
func (tx *Tx) DeleteLease(s Space, c vsock.CID) error {
	if err := tx.unindex(s, c); err != nil {
		return err
	}
	if err := leaseShelf(s).delete(tx, cidKey(c)); err != nil {
		return err
	}
	if empty, err := tx.empty(leaseShelf(s).path...); err != nil || !empty {
		return err
	}
	return tx.DeleteSpace(s)
}

// unindex takes out of the indexes what they say of c in s. An owner that has
// another CID by now, as a file before schema 2 might say, keeps that.
func (tx *Tx) unindex(s Space, c vsock.CID) error {
	old, err := tx.Lease(s, c)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range indexEntries(old) {
		v, err := tx.value(e.key, e.path...)
		if err == nil && bytes.Equal(v, e.value) {
			err = tx.remove(e.key, e.path...)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// index puts l into the indexes.
func (tx *Tx) index(l Lease) error {
	for _, e := range indexEntries(l) {
		if err := tx.setValue(e.key, e.value, e.path...); err != nil {
			return err
		}
	}
	return nil
}
