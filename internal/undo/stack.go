// Package undo takes back a change that could not be completed.
package undo

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Budget bounds all steps of one [Stack.Unwind] together. The slowest step we
// have kills a QEMU and waits until the kernel has let go of its CID: a fraction
// of a second on hardware, several under nested emulation with many machines
// going at once.
const Budget = 30 * time.Second

// A Stack holds undo steps and runs them newest first. The zero Stack is ready
// to use. It is not safe for concurrent use: one stack belongs to one call.
type Stack struct{ steps []step }

type step struct {
	name string
	undo func(context.Context) error
}

// Push adds an undo step. Push right after the change it takes back, before
// anything else can fail. The name completes "undo NAME: cause".
func (s *Stack) Push(name string, undo func(context.Context) error) {
	s.steps = append(s.steps, step{name, undo})
}

// Keep forgets all steps: the change is complete and stays.
func (s *Stack) Keep() { s.steps = nil }

// Unwind runs the remaining steps, newest first, and joins their failures to
// *errp. It does nothing after Keep. The steps run even if ctx is already
// cancelled; together they get [Budget]. A step that fails does not stop the
// older ones.
//
// Defer it through a closure, so that errp is the caller's named result:
//
//	defer func() { back.Unwind(ctx, &err) }()
func (s *Stack) Unwind(ctx context.Context, errp *error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), Budget)
	defer cancel()
	for len(s.steps) > 0 {
		last := s.steps[len(s.steps)-1]
		s.steps = s.steps[:len(s.steps)-1]
		if err := last.undo(ctx); err != nil {
			*errp = errors.Join(*errp, fmt.Errorf("undo %s: %w", last.name, err))
		}
	}
}
