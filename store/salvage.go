package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A Salvage is what can still be read of a state file, damaged or not. It may say
// what a transaction would refuse, as two CIDs for one machine.
type Salvage struct {
	Machines []Machine
	Netnses  []Netns
	Leases   []Lease // of all spaces

	Schema uint32 // 0 if it could not be read
	Bytes  int    // the size of the file

	Damage []error // one for each record, bucket or page that could not be read or can't be right, all [ErrCorrupt]
}

// Salvage reads every record on its own: a damaged one costs itself, and a
// damaged page what hangs below it. It reads older schemas too, writes nothing,
// and returns the zero Salvage where there is no file. It fails with
// [*SchemaError] for a newer file, with [ErrLocked], and with [fs.ErrPermission].
func (s *Store) Salvage(ctx context.Context) (Salvage, error) {
	b, err := s.content(ctx)
	if b == nil && err == nil {
		return Salvage{}, nil
	}
	return salvageRead(s.Path(), b, err)
}

// salvageRead reads b, all that could be read of the file at path before err.
func salvageRead(path string, b []byte, err error) (Salvage, error) {
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return Salvage{}, err
	}
	sv, err2 := salvage(path, b)
	if err2 == nil {
		sv.damaged(err)
	}
	return sv, err2
}

// content returns the bytes of the state file between two transactions, nil if
// there is none.
func (s *Store) content(ctx context.Context) ([]byte, error) {
	switch _, err := os.Stat(s.Path()); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, openError(s.Path(), err)
	}
	l, err := lock(ctx, filepath.Join(s.dir, lockName), mustExist)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return readFile(ctx, s.Path())
}

// readFile returns the bytes of the bbolt file at path while no tool that opened
// it past the lock file writes to it. It fails with [ErrCorrupt] where the disk
// can't read on, and returns what comes before.
func readFile(ctx context.Context, path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, openError(path, err)
	}
	wait, cancel := context.WithTimeout(ctx, boltWait)
	defer cancel()
	switch err := await(wait, f, share, &queue{}); {
	case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
		return nil, foreignLock(path)
	case err != nil:
		return nil, fmt.Errorf("lock state %s: %w", path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return b, corrupt("state "+path, cause(err))
	}
	return b, nil
}

// salvage reads b, the content of the state file at path. It fails with
// [*SchemaError].
func salvage(path string, b []byte) (Salvage, error) {
	sv := Salvage{Bytes: len(b)}
	if len(b) == 0 {
		sv.Damage = []error{emptyFile(path)}
		return sv, nil
	}
	items, damage := readPages(b)
	sv.Damage = damage
	for _, i := range items {
		if i.in(bucketMeta) && i.key == keySchema && len(i.value) == 4 {
			sv.Schema = binary.BigEndian.Uint32(i.value)
		}
	}
	if sv.Schema > newest() {
		return Salvage{}, &SchemaError{Path: path, Have: sv.Schema, Want: newest()}
	}
	index := map[string]item{}
	for _, i := range items {
		sv.add(i, index)
	}
	switch {
	case len(sv.Damage) > 0: // more of it would say the same
	case sv.Schema == 0:
		sv.damaged(corrupt("state "+path, "it has no schema"))
	case sv.Schema >= 2:
		sv.damaged(checkIndexes(sv.Leases, index))
	}
	return sv, nil
}

// in reports whether i stands in the bucket at path, where "*" is any name.
func (i item) in(path ...string) bool {
	if len(i.path) != len(path) {
		return false
	}
	for n, name := range path {
		if name != "*" && name != i.path[n] {
			return false
		}
	}
	return true
}

func (sv *Salvage) damaged(err error) {
	if err != nil {
		sv.Damage = append(sv.Damage, err)
	}
}

// add takes one value for what it is. What an index says goes to index.
func (sv *Salvage) add(i item, index map[string]item) {
	switch {
	case i.in(bucketMachine):
		m, err := machineShelf().decode(i.key, i.value)
		if err == nil {
			sv.Machines = append(sv.Machines, m)
		}
		sv.damaged(err)
	case i.in(bucketNetns):
		n, err := netnsShelf().decode(i.key, i.value)
		if err == nil {
			sv.Netnses = append(sv.Netnses, n)
		}
		sv.damaged(err)
	case i.in(bucketSpace, "*", bucketCID):
		s := Space(i.path[1])
		l, err := leaseShelf(s).decode(i.key, i.value)
		if err == nil && l.Space != s {
			err = misplaced(s, l)
		}
		if err == nil {
			sv.Leases = append(sv.Leases, l)
		}
		sv.damaged(err)
	case i.in(bucketSpace, "*", bucketOwner), i.in(bucketSpace, "*", bucketFor),
		i.in(bucketSpace, "*", bucketFreed), i.in(bucketSpace, "*", bucketSeen):
		index[i.String()] = i
	case i.in(bucketMeta), i.in(bucketSpace, "*"):
		sv.damaged(i.check())
	default:
		sv.damaged(corrupt(i.String(), "no vmlaunch writes that"))
	}
}

func (i item) String() string { return strings.Join(i.path, "/") + "/" + i.key }

// check asks of a value that is no record and no index whether it can be right.
func (i item) check() error {
	want, ok := map[string]int{keySchema: 4, keyGeneration: 8}[i.key]
	if ok && len(i.path) == 1 && len(i.value) != want {
		return corrupt(i.String(), fmt.Sprintf("%d bytes, want %d", len(i.value), want))
	}
	if len(i.path) == 2 {
		if err := Space(i.path[1]).check(); err != nil {
			return corrupt(fmt.Sprintf("space %q", i.path[1]), err)
		}
	}
	return nil
}
