package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

// boltWait bounds the wait for bbolt's own lock. Whoever goes through the lock
// file finds it free; this is for tools that open the file on their own. bbolt
// polls every 50 ms, and 0 would wait for ever.
const boltWait = 2 * time.Second

// A file is the open state file. It belongs to one call of [Store.View] or
// [Store.Update].
type file struct {
	db   *bolt.DB
	raw  *os.File // the descriptor inside db
	path string

	fresh bool // it is being created, and empty

	// broken is set once bbolt has panicked. Its locks can't be relied on then,
	// and closing it might wait for ever.
	broken bool
}

type access int

const (
	readOnly access = iota + 1
	readWrite
)

// openFile opens the file at path, which must exist: bbolt would fill an empty
// file, and so forget every lease. It fails with [ErrLocked], [ErrCorrupt] and
// [fs.ErrPermission]. The caller closes it.
func openFile(path string, how access) (*file, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, openError(path, err)
	}
	if info.Size() == 0 {
		return nil, emptyFile(path)
	}
	return openBolt(path, how)
}

func openBolt(path string, how access) (*file, error) {
	f := &file{path: path}
	options := &bolt.Options{
		Timeout:      boltWait,
		ReadOnly:     how == readOnly,
		FreelistType: bolt.FreelistMapType,
		NoStatistics: true,
		OpenFile: func(name string, flag int, perm os.FileMode) (*os.File, error) {
			var err error
			f.raw, err = os.OpenFile(name, flag, perm)
			return f.raw, err
		},
	}
	err := f.guard(func() (err error) {
		f.db, err = bolt.Open(path, 0o600, options)
		return err
	})
	if err == nil {
		return f, nil
	}
	if f.broken {
		f.Close()
		return nil, err
	}
	var errno syscall.Errno
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, foreignLock(path)
	case errors.As(err, &errno):
		return nil, openError(path, err)
	}
	return nil, corrupt("state "+path, err)
}

// create makes an empty state file at path in one step: a crash or a full disk
// leaves none or a whole one. The caller holds the lock file.
func create(path string) error {
	draft := path + ".new"
	defer os.Remove(draft) // gone already if all went well
	if err := build(draft, func(*Tx) error { return nil }); err != nil {
		return err
	}
	return moveTo(draft, path)
}

// build makes a state file at path with what fn writes in place of what is there.
func build(path string, fn func(*Tx) error) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	f, err := openBolt(path, readWrite)
	if err != nil {
		return err
	}
	defer f.Close() // fn may panic
	f.fresh = true
	if err := f.migrate(migrations()); err != nil {
		return err
	}
	return errors.Join(f.update(fn), f.Close())
}

// replaceFile puts a file with content b at path, whole or not at all.
func replaceFile(path string, b []byte) error {
	draft := path + ".new"
	defer os.Remove(draft) // gone already if all went well
	if err := writeFile(draft, b); err != nil {
		return err
	}
	return moveTo(draft, path)
}

// writeFile writes b to a file at path (0600), in place of what is there, and to
// the disk.
func writeFile(path string, b []byte) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// moveTo puts the file draft at path, for good.
func moveTo(draft, path string) error {
	if err := os.Rename(draft, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename in dir outlast a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Close gives the file back. After a panic of bbolt it only unlocks and closes
// the descriptor. The mapping stays until the process ends, and would keep a lock
// that is not taken off.
func (f *file) Close() error {
	if !f.broken {
		return f.guard(f.db.Close)
	}
	if f.raw == nil {
		return nil
	}
	return errors.Join(unix.Flock(int(f.raw.Fd()), unix.LOCK_UN), f.raw.Close())
}

// guard runs fn, which does nothing but call bbolt, and turns its panics on
// damaged pages, and faults on a file that was cut short, into [ErrCorrupt].
func (f *file) guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			f.broken = true
			err = corrupt("state "+f.path, r)
		}
	}()
	return fn()
}

// begin starts a transaction. The caller ends it by commit or rollback.
func (f *file) begin(writable bool) (*Tx, error) {
	tx := &Tx{f: f}
	err := f.guard(func() (err error) {
		tx.bolt, err = f.db.Begin(writable)
		return err
	})
	if err != nil {
		return nil, err
	}
	return tx, nil
}

// rollback ends tx without a trace. It does nothing after a commit.
func (f *file) rollback(tx *Tx) {
	if f.broken {
		return
	}
	_ = f.guard(func() error {
		if err := tx.bolt.Rollback(); !errors.Is(err, berrors.ErrTxClosed) {
			return err
		}
		return nil
	})
}

func (f *file) view(fn func(*Tx) error) error {
	tx, err := f.begin(false)
	if err != nil {
		return err
	}
	defer f.rollback(tx)
	have, err := tx.schema()
	if err != nil {
		return err
	}
	if err := f.admit(have, newest()); err != nil {
		return err
	}
	if err := tx.complete(); err != nil {
		return err
	}
	return fn(tx)
}

func (f *file) update(fn func(*Tx) error) error {
	tx, err := f.begin(true)
	if err != nil {
		return err
	}
	defer f.rollback(tx)
	if err := tx.complete(); err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		return err
	}
	if !tx.dirty {
		return nil
	}
	return f.commit(tx)
}

func (f *file) commit(tx *Tx) error {
	err := f.guard(tx.bolt.Commit)
	if err != nil && !f.broken {
		return fmt.Errorf("write state %s: %w", f.path, cause(err))
	}
	return err
}
