package qmp

import (
	"errors"
	"fmt"
)

var (
	// ErrGone is in every error that comes of QEMU having ended the
	// conversation, or not being there at all; the cause stands beside it.
	// QEMU may live on: ask its process.
	ErrGone = errors.New("QEMU is gone")

	// ErrBusy is in the error of a dial that reached the monitor's socket
	// but was not served before its context ended.
	ErrBusy = errors.New("monitor does not answer (another client holds it, or QEMU is stopped)")
)

// The classes of [Error] that QEMU gives out (see QapiErrorClass in its
// qapi/error.json).
const (
	GenericError    = "GenericError"
	CommandNotFound = "CommandNotFound"
	DeviceNotActive = "DeviceNotActive"
	DeviceNotFound  = "DeviceNotFound"
	KVMMissingCap   = "KVMMissingCap"
)

// An Error is QEMU's refusal of a command.
type Error struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

func (e *Error) Error() string {
	switch {
	case e.Desc == "" && e.Class == "":
		return "refused without a reason"
	case e.Desc == "":
		return e.Class
	case e.Class == "" || e.Class == GenericError:
		return e.Desc
	}
	return e.Class + ": " + e.Desc
}

// A ProtocolError says that the peer does not speak QMP. The conversation is
// over, since what follows can't be trusted.
type ProtocolError struct {
	Line   string // the beginning of what it said
	Reason string
}

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("peer does not speak QMP: %s: %q", e.Reason, e.Line)
}

// gone marks cause as the end of QEMU's side.
func gone(cause error) error { return fmt.Errorf("%w: %w", ErrGone, cause) }
