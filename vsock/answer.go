package vsock

import "syscall"

// An answer is what the kernel said, with its meaning: it reads as the meaning,
// and errors.Is and errors.As find the errno in it as well.
type answer struct {
	meaning error
	errno   syscall.Errno
}

func (a *answer) Error() string   { return a.meaning.Error() }
func (a *answer) Unwrap() []error { return []error{a.meaning, a.errno} }
