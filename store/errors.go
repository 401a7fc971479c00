package store

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

var (
	// ErrLocked says that the state file could not be had in time. The error's
	// text names the process that holds it.
	ErrLocked = errors.New("state is locked")

	// ErrCorrupt says that the state file is damaged or holds what no vmlaunch
	// writes.
	ErrCorrupt = errors.New("state is damaged")

	// errOldSchema says that a file opened for reading needs a migration.
	errOldSchema = errors.New("state has an old schema")

	// errReadOnly says that a view was asked to write: a mistake in the caller.
	errReadOnly = errors.New("state is open for reading only")
)

// A SchemaError says that a newer vmlaunch wrote the state file.
type SchemaError struct {
	Path string
	Have uint32 // the file's schema
	Want uint32 // the newest this program knows
}

func (e *SchemaError) Error() string {
	return fmt.Sprintf("state %s: schema %d, want at most %d: a newer vmlaunch wrote it (use that one, or move the file away)",
		e.Path, e.Have, e.Want)
}

// A recordError says that one object is not as wanted: fs.ErrNotExist or
// fs.ErrExist, with a text that fits an object which is no file.
type recordError struct {
	object string // `machine "web"`
	kind   error
}

func (e *recordError) Error() string {
	switch {
	case errors.Is(e.kind, fs.ErrNotExist):
		return e.object + ": does not exist"
	case errors.Is(e.kind, fs.ErrExist):
		return e.object + ": already exists"
	}
	return e.object + ": " + e.kind.Error()
}

func (e *recordError) Unwrap() error { return e.kind }

// corrupt says what is wrong with an object, or with the whole file.
func corrupt(object string, cause any) error {
	return fmt.Errorf("%s: %w: %v", object, ErrCorrupt, cause)
}

func emptyFile(path string) error {
	return corrupt("state "+path, "the file is empty, vmlaunch never leaves it so")
}

func foreignLock(path string) error {
	return fmt.Errorf("open state %s: %w by a program that is not vmlaunch, still after %v", path, ErrLocked, boltWait)
}

// openError names the state file, and the way out if it is not ours.
func openError(path string, err error) error {
	err = fmt.Errorf("open state %s: %w", path, cause(err))
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w (run as its owner, or choose another place with --root)", err)
	case errors.Is(err, unix.EROFS):
		return unsupported{fmt.Errorf("%w (mount it for writing, or choose another place with --root)", err)}
	}
	return err
}

// cause takes the operation and path off a file error that repeats them.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
