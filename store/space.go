package store

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// A Space is the set of namespaces within which a CID must be unique. It is
// [Global], or "local/BOOT/COOKIE" for one local namespace.
type Space string

// Global is the space of all namespaces whose mode is global.
const Global Space = "global"

const localPrefix = "local/"

// SpaceOf returns the space of the namespace id whose mode is m.
func SpaceOf(id netns.ID, m vsock.Mode) Space {
	if m != vsock.Local {
		return Global
	}
	return Space(fmt.Sprintf("%s%s/%d", localPrefix, id.Boot, id.Cookie))
}

// Mode returns the mode of the namespaces in s.
func (s Space) Mode() vsock.Mode {
	if s == Global {
		return vsock.Global
	}
	return vsock.Local
}

// ID returns the namespace that a local space is; the zero ID for [Global] and
// for what is no space.
func (s Space) ID() netns.ID {
	rest, ok := strings.CutPrefix(string(s), localPrefix)
	boot, cookie, ok2 := strings.Cut(rest, "/")
	n, err := strconv.ParseUint(cookie, 10, 64)
	if !ok || !ok2 || err != nil || boot == "" {
		return netns.ID{}
	}
	return netns.ID{Boot: boot, Cookie: n}
}

// check asks that s is written as SpaceOf writes it.
func (s Space) check() error {
	if s == Global {
		return nil
	}
	if id := s.ID(); id.IsZero() || SpaceOf(id, vsock.Local) != s {
		return fmt.Errorf("space is %q, want %s or %sBOOT/COOKIE", string(s), Global, localPrefix)
	}
	return nil
}

// Spaces returns the spaces that hold a lease or a cooling CID, in key order.
// It fails with [ErrCorrupt].
func (tx *Tx) Spaces() ([]Space, error) {
	entries, err := tx.entries(bucketSpace)
	if err != nil {
		return nil, err
	}
	spaces := make([]Space, 0, len(entries))
	for _, e := range entries {
		s := Space(e.key)
		if err := s.check(); err != nil {
			return nil, corrupt(fmt.Sprintf("space %q", e.key), err)
		}
		spaces = append(spaces, s)
	}
	return spaces, nil
}

// DeleteSpace forgets s with all its leases, as when its namespace is gone; none
// is fine. It fails in a view.
func (tx *Tx) DeleteSpace(s Space) error { return tx.removeBucket(bucketSpace, string(s)) }

// makeSpace writes what is said of a space beside its leases.
func (tx *Tx) makeSpace(s Space) error {
	if v, err := tx.value(keyMode, bucketSpace, string(s)); err != nil || v != nil {
		return err
	}
	if s != Global {
		id, err := json.Marshal(s.ID())
		if err != nil {
			return err
		}
		if err := tx.setValue(keyIdentity, id, bucketSpace, string(s)); err != nil {
			return err
		}
	}
	return tx.setValue(keyMode, []byte(s.Mode().String()), bucketSpace, string(s))
}
