package netns

import "io/fs"

// An answer is an error of a kind the standard library has, in words that fit a
// namespace: fs.ErrNotExist would speak of a file.
type answer struct {
	text string
	kind error
}

var (
	errAbsent = answer{"does not exist", fs.ErrNotExist}
	errTaken  = answer{"exists already", fs.ErrExist}
)

func (a answer) Error() string { return a.text }

// Is reports whether target is the kind of a.
func (a answer) Is(target error) bool { return target == a.kind }
