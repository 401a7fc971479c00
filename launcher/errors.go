package launcher

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// A PhaseError says that a machine is in the wrong phase for what was asked.
type PhaseError struct {
	Name string
	Have State
	Want string // what it would have to be, in words
	Hint string // the way out; may be empty
}

func (e *PhaseError) Error() string {
	return fmt.Sprintf("machine %q: is %s, want %s%s", e.Name, e.Have, e.Want, bracket(e.Hint))
}

// A ModeError says that a namespace has another vsock mode than was asked for.
// A mode never changes. errors.Is(err, fs.ErrExist) holds.
type ModeError struct {
	Ref  string // "" is the caller's own namespace
	Have vsock.Mode
	Want vsock.Mode
}

func (e *ModeError) Error() string {
	hint := "name a new one with --netns, and it is made so"
	return fmt.Sprintf("%s: its vsock mode is %s, want %s%s", netnsTitle(e.Ref), e.Have, e.Want, bracket(hint))
}

// Is makes every ModeError an [fs.ErrExist].
func (e *ModeError) Is(target error) bool { return target == fs.ErrExist }

// A SpecError says that a machine exists and differs from what was asked for.
// errors.Is(err, fs.ErrExist) holds.
type SpecError struct {
	Name   string
	Fields []string // what differs, as "field have want"
}

func (e *SpecError) Error() string {
	return fmt.Sprintf("machine %q: exists with another %s%s", e.Name, strings.Join(e.Fields, ", "),
		bracket("vmlaunch down "+e.Name+", or choose another name"))
}

// Is makes every SpecError an [fs.ErrExist].
func (e *SpecError) Is(target error) bool { return target == fs.ErrExist }

// An UnrecordedError says that a QEMU of ours runs of which there is no record:
// the records were deleted, or are those of another time. It is left alone.
// errors.Is(err, fs.ErrExist) holds.
type UnrecordedError struct {
	Name string
	QEMU proc.ID
}

func (e *UnrecordedError) Error() string {
	return fmt.Sprintf("machine %q: runs without a record, as %v%s", e.Name, e.QEMU, bracket("vmlaunch repair"))
}

// Is makes every UnrecordedError an [fs.ErrExist].
func (e *UnrecordedError) Is(target error) bool { return target == fs.ErrExist }

// An InUseError says that machines live in a namespace that was to be removed.
// errors.Is(err, fs.ErrExist) holds.
type InUseError struct {
	Netns    string
	Machines []string
}

func (e *InUseError) Error() string {
	return fmt.Sprintf("remove netns %q: in use by machine %s%s", e.Netns, strings.Join(e.Machines, ", "),
		bracket("remove it first: vmlaunch down "+strings.Join(e.Machines, " ")))
}

// Is makes every InUseError an [fs.ErrExist].
func (e *InUseError) Is(target error) bool { return target == fs.ErrExist }

// A FolderError says that what is to be mounted is there, but no folder.
// errors.Is(err, fs.ErrNotExist) holds.
type FolderError struct{ Path string }

func (e *FolderError) Error() string { return fmt.Sprintf("mount %q: is not a folder", e.Path) }

// Is makes every FolderError an [fs.ErrNotExist].
func (e *FolderError) Is(target error) bool { return target == fs.ErrNotExist }

// A BootError says that the machine itself failed: its QEMU or its guest ended
// although nobody asked. The host is fine.
type BootError struct {
	Name  string
	Phase string // "start" before QEMU ran the guest, "boot" after
	Exit  int    // QEMU's exit status; -1 if it is not known or was a signal
	Cause string
	Tail  []string // last lines of the log that tells most
	Log   string   // its path; "" if it went with the machine
}

func (e *BootError) Error() string {
	s := fmt.Sprintf("%s machine %q: %s", e.Phase, e.Name, e.Cause)
	if e.Exit > 0 {
		s += fmt.Sprintf(", exit status %d", e.Exit)
	}
	for _, line := range e.Tail {
		s += "\n  " + line
	}
	if e.Log != "" {
		s += "\n  log: " + e.Log
	}
	return s
}

// A ReadyError says that a guest was not ready in time. The machine stays.
// errors.Is finds its cause, context.DeadlineExceeded.
type ReadyError struct {
	Name    string
	Waited  time.Duration
	Missing string // what had not come
	Cause   error
}

func (e *ReadyError) Error() string {
	return fmt.Sprintf("wait for machine %q: not ready after %s: %s%s", e.Name, e.Waited.Round(100*time.Millisecond), e.Missing,
		bracket("it goes on; see: vmlaunch logs "+e.Name+"; longer: --timeout"))
}

// Unwrap returns the cause.
func (e *ReadyError) Unwrap() error { return e.Cause }

// A MissingError says what this host lacks for a machine, and how to get it.
// errors.Is(err, errors.ErrUnsupported) holds.
type MissingError struct {
	What string
	Need string // what it is needed for; may be empty
	Hint string // what to try; may be empty
}

func (e *MissingError) Error() string {
	s := "no " + e.What
	if e.Need != "" {
		s += ", needed to " + e.Need
	}
	return s + bracket(e.Hint)
}

// Is makes every MissingError an [errors.ErrUnsupported].
func (e *MissingError) Is(target error) bool { return target == errors.ErrUnsupported }

func bracket(hint string) string {
	if hint == "" {
		return ""
	}
	return " (" + hint + ")"
}

func netnsTitle(ref string) string {
	if ref == "" {
		return "netns of the caller"
	}
	return fmt.Sprintf("netns %q", ref)
}
