package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/vmlaunch/vmlaunch/cidalloc"
	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/fleet"
	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/image"
	"github.com/vmlaunch/vmlaunch/lab"
	"github.com/vmlaunch/vmlaunch/launcher"
	"github.com/vmlaunch/vmlaunch/nest"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// A Code is the exit code of vmlaunch. The numbers are a promise: scripts
// depend on them, so they change only with a new major version.
type Code int

// The exit codes. docs/ERRORS.md shows the same table.
const (
	OK            Code = 0
	Failure       Code = 1   // unclassified: a bug or plain I/O
	Usage         Code = 2   // command line or file wrong
	NotFound      Code = 3   // no such machine, namespace, image or file
	Conflict      Code = 4   // it exists, or is in the wrong phase
	CIDConflict   Code = 5   // the CID is taken, or none is left
	Unable        Code = 6   // the host can't, or may not
	TimedOut      Code = 7   // took too long
	MachineFailed Code = 8   // the machine did not start, or ended
	StateUnusable Code = 9   // the state file is damaged, or too new
	Partial       Code = 10  // some machines failed, the rest stand
	NotAsExpected Code = 12  // a scenario did not show what it has to
	WrongGuest    Code = 11  // another guest answers than was meant
	OwnFailure    Code = 125 // exec and its like: our failure, not the program's
	Interrupted   Code = 130 // ended by Ctrl-C or SIGTERM
)

// A meaning is what an exit code tells the user.
type meaning struct{ code, text string }

// meanings are the exit codes in words, for help and documents.
func meanings() []meaning {
	return []meaning{
		{"0", "done"},
		{"1", "unclassified: a bug, or plain I/O"},
		{"2", "the command line or a file is wrong; nothing was changed"},
		{"3", "there is no such machine, namespace, image or file"},
		{"4", "it exists already, or is in the wrong phase"},
		{"5", "the CID is taken, or none is left to give"},
		{"6", "this host can't, or may not; `vmlaunch doctor` says why"},
		{"7", "took too long"},
		{"8", "the machine failed: its QEMU or its guest ended"},
		{"9", "the state file is damaged, or of a newer vmlaunch"},
		{"10", "some of several machines failed, the rest stand"},
		{"11", "another guest answers at the machine's CID; nothing was sent to it"},
		{"12", "a scenario did not show what it has to"},
		{"125", "`exec`, `shell`, `nest run`, `netns exec`: our failure, not the program's"},
		{"130", "interrupted by Ctrl-C, SIGTERM or SIGHUP"},
		{"n", "`exec` and its like: the program's own exit code, passed through"},
	}
}

// A cause says which errors lead to a code.
type cause struct {
	code Code
	form string // the errors, as docs/ERRORS.md names them
	is   func(error) bool
}

// causes is the whole mapping from errors to exit codes. The first match wins,
// so causes that name the user's way out stand before general ones: a missing
// device is "can't" although it also is a file that does not exist.
func causes() []cause {
	return []cause{
		{Interrupted, "`context.Canceled` after a signal", is(context.Canceled)},
		{OwnFailure, "any, from `exec` and its like", as[*ownFailure]},
		{NotAsExpected, "`command.ErrNotAsExpected`", is(ErrNotAsExpected)},
		{Partial, "`*command.PartialError`", as[*PartialError]},
		{Usage, "`command.ErrUsage`", is(ErrUsage)},
		{Usage, "`vsock.ErrBadCID`", is(vsock.ErrBadCID)},
		{Usage, "`vsock.ErrBadMode`", is(vsock.ErrBadMode)},
		{Usage, "`netns.ErrBadName`", is(netns.ErrBadName)},
		{Usage, "`configs.Errors`", as[configs.Errors]},
		{Usage, "`*image.DiskError`", as[*image.DiskError]},
		{Usage, "`configs.FileErrors`", as[configs.FileErrors]},
		{Usage, "`*image.DigestError`", as[*image.DigestError]},
		{WrongGuest, "`guest.ErrIdentity`", is(guest.ErrIdentity)},
		{CIDConflict, "`cidalloc.ErrTaken`", is(cidalloc.ErrTaken)},
		{CIDConflict, "`cidalloc.ErrExhausted`", is(cidalloc.ErrExhausted)},
		{MachineFailed, "`launcher.ErrEnded`", is(launcher.ErrEnded)},
		{MachineFailed, "`*launcher.BootError`", as[*launcher.BootError]},
		{MachineFailed, "`*nest.BootError`", as[*nest.BootError]},
		{StateUnusable, "`*store.SchemaError`", as[*store.SchemaError]},
		{StateUnusable, "`store.ErrCorrupt`", is(store.ErrCorrupt)},
		{TimedOut, "`store.ErrLocked`", is(store.ErrLocked)},
		{Unable, "`errors.ErrUnsupported`", is(errors.ErrUnsupported)},
		{CIDConflict, "`*lab.ClashError`", as[*lab.ClashError]},
		{Conflict, "`*launcher.PhaseError`", as[*launcher.PhaseError]},
		{NotFound, "`fs.ErrNotExist`", is(fs.ErrNotExist)},
		{Conflict, "`fs.ErrExist`", is(fs.ErrExist)},
		{Unable, "`fs.ErrPermission`", is(fs.ErrPermission)},
		{TimedOut, "`context.DeadlineExceeded`", is(context.DeadlineExceeded)},
	}
}

// Of returns the exit code for err.
func Of(err error) Code {
	if err == nil {
		return OK
	}
	var status exitStatus
	if errors.As(err, &status) {
		return Code(status)
	}
	for _, c := range causes() {
		if c.is(err) {
			return c.code
		}
	}
	return Failure
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func as[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// An exitStatus is how a program ended that vmlaunch ran for the user. It
// becomes vmlaunch's own exit code; there is nothing to print.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// passThrough makes the answer of a program that was run for the user into an
// error: its exit code as it is, or, if it could not be run, exit code 125.
func passThrough(exit int, err error) error {
	switch {
	case err != nil:
		return &ownFailure{err}
	case exit != 0:
		return exitStatus(exit)
	}
	return nil
}

// ownFailure marks an error of ours where other exit codes belong to the
// program that was to be run. Being interrupted stays being interrupted.
type ownFailure struct{ err error }

func (e *ownFailure) Error() string { return e.err.Error() }

// Unwrap gives the cause. The exit code does not depend on it.
func (e *ownFailure) Unwrap() error { return e.err }

// A PartialError says that something was asked of several machines and some of
// them failed, while the rest stand.
type PartialError struct {
	Failed, Of int
	Errs       []error // one for each that failed
}

func (e *PartialError) Error() string {
	return fmt.Sprintf("%d of %d machines failed:\n%v", e.Failed, e.Of, errors.Join(e.Errs...))
}

// Unwrap gives the failures.
func (e *PartialError) Unwrap() []error { return e.Errs }

// forEach calls fn for every name, several at once, and goes on after a failure.
// It returns nil, the failures in the order of the names joined if all failed, or a
// [*PartialError].
func forEach(ctx context.Context, names []string, fn func(ctx context.Context, name string) error) error {
	return partial(fleet.Each(ctx, names, atOnce, fn))
}

// partial returns nil if all is well, the failures joined if nothing is, or a
// [*PartialError].
func partial(results []fleet.Result[string]) error {
	var errs []error
	for _, r := range results {
		if r.Err != nil {
			errs = append(errs, r.Err)
		}
	}
	if len(errs) == 0 || len(errs) == len(results) {
		return errors.Join(errs...)
	}
	return &PartialError{Failed: len(errs), Of: len(results), Errs: errs}
}
