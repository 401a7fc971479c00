// Package store keeps what vmlaunch must remember between two commands: which
// machine owns which CID in which space, the machines themselves, and the
// namespaces vmlaunch made. It all lives in one bbolt file.
//
// The file is opened for one transaction and closed again; nobody may wait for
// QEMU, a guest or the network inside one. What is written here is a record of
// intent: whether a machine runs and whether a CID is taken is for the kernel to
// say.
//
// docs/STATE.md draws the layout. Change the drawing, the record types, and
// [migrations] together.
package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// LockWait is how long one process may keep the state file and do nothing while
// another waits for it. A transaction takes about a millisecond, and on an emulated
// host some 0.2 s. However long the queue is, who waits in it goes on waiting while
// it moves, or while the one in front comes to work. When a hundred machines boot on
// two processors of an emulated host, one was seen to do nothing for 10 s and more.
const LockWait = time.Minute

const (
	fileName = "state.db"
	lockName = "state.lock"
)

// A Store is the state file of one vmlaunch. It holds nothing open and is safe
// for concurrent use.
type Store struct{ dir string }

// New returns the store in directory dir. It touches nothing: the first
// [Store.Update] makes the directory (0700) and the file (0600).
func New(dir string) *Store { return &Store{dir} }

// Path returns the path of the state file, which need not exist.
func (s *Store) Path() string { return filepath.Join(s.dir, fileName) }

// View runs fn in a transaction that can't write. Without a state file fn sees
// an empty one, and none is made. Tx must not be used after fn has returned.
//
// It returns fn's error as it is. It fails with [ErrLocked], which names the
// holder, when that keeps the file and does nothing for [LockWait], or at ctx's
// deadline; with [*SchemaError] if a newer vmlaunch wrote the file; with [ErrCorrupt] if the file is damaged; and with
// [fs.ErrPermission].
func (s *Store) View(ctx context.Context, fn func(*Tx) error) error {
	for {
		err := s.view(ctx, fn)
		if !errors.Is(err, errOldSchema) {
			return err
		}
		// An old layout is read after it was brought up to date.
		if err := s.Update(ctx, func(*Tx) error { return nil }); err != nil {
			return err
		}
	}
}

func (s *Store) view(ctx context.Context, fn func(*Tx) error) error {
	switch _, err := os.Stat(s.Path()); {
	case errors.Is(err, fs.ErrNotExist):
		return fn(&Tx{})
	case err != nil:
		return openError(s.Path(), err)
	}
	l, err := lock(ctx, filepath.Join(s.dir, lockName), mustExist)
	if err != nil {
		return err
	}
	defer l.Close()
	f, err := openFile(s.Path(), readOnly)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.view(fn)
}

// Update runs fn in a transaction and commits it if fn returns nil. If fn fails,
// panics or changes nothing, nothing is written. It fails as [Store.View] does,
// if the change could not be written, then the old state stands, and with
// [errors.ErrUnsupported] on a read-only file system. Tx must not be used after
// fn has returned, and fn must not call the store again.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	l, err := s.lockForWriting(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	switch _, err := os.Stat(s.Path()); {
	case errors.Is(err, fs.ErrNotExist):
		if err := create(s.Path()); err != nil {
			return fmt.Errorf("create state %s: %w", s.Path(), err)
		}
	case err != nil:
		return openError(s.Path(), err)
	}
	f, err := openFile(s.Path(), readWrite)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.migrate(migrations()); err != nil {
		return err
	}
	return f.update(fn)
}

// lockForWriting makes the directory, and waits for the lock file. The caller
// closes it.
func (s *Store) lockForWriting(ctx context.Context) (*lockFile, error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, openError(s.Path(), err)
	}
	return lock(ctx, filepath.Join(s.dir, lockName), makeIt)
}
