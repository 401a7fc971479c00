package vsock

import (
	"errors"
	"strings"
)

// A MissingError says that this host lacks something, and how to get it. It
// answers errors.Is(err, [errors.ErrUnsupported]). It does not unwrap to the
// kernel's ENOENT: a missing device is not a missing machine.
type MissingError struct {
	What string // what is not there: "/dev/vhost-vsock"
	Need string // what would provide it, or empty: "the kernel module vhost_vsock"
	Hint string // what to try, or empty: "modprobe vhost_vsock"
}

func (e *MissingError) Error() string {
	var b strings.Builder
	b.WriteString("no " + e.What)
	if e.Need != "" {
		b.WriteString(": needs " + e.Need)
	}
	if e.Hint != "" {
		b.WriteString(" (try: " + e.Hint + ")")
	}
	return b.String()
}

// Is reports whether target is [errors.ErrUnsupported].
func (e *MissingError) Is(target error) bool { return target == errors.ErrUnsupported }
