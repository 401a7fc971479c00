package undo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

var errInjected = errors.New("injected")

// ledger is the outside world of change: what is held, in the order of taking.
type ledger struct {
	failAt, calls int
	held, freed   []string
}

func (l *ledger) take(name string) error {
	if l.calls++; l.calls == l.failAt {
		return fmt.Errorf("take %s: %w", name, errInjected)
	}
	l.held = append(l.held, name)
	return nil
}

func (l *ledger) free(name string) error {
	l.held = slices.DeleteFunc(l.held, func(h string) bool { return h == name })
	l.freed = append(l.freed, name)
	return nil
}

// change takes three things or none.
func change(ctx context.Context, l *ledger) (err error) {
	var back Stack
	defer func() { back.Unwind(ctx, &err) }()
	for _, name := range []string{"a", "b", "c"} {
		if err := l.take(name); err != nil {
			return err
		}
		back.Push("take of "+name, func(context.Context) error { return l.free(name) })
	}
	back.Keep()
	return nil
}

// TestChangeFailsCleanAtEveryStep lets each step fail in turn and asks that
// nothing stays held and that the newest is freed first.
func TestChangeFailsCleanAtEveryStep(t *testing.T) {
	want := [][]string{nil, {"a"}, {"b", "a"}}
	for n := 1; ; n++ {
		l := &ledger{failAt: n}
		err := change(t.Context(), l)
		if err == nil {
			if n != 4 {
				t.Fatalf("went through with step %d failing, want only past step 3", n)
			}
			if got := l.held; !slices.Equal(got, []string{"a", "b", "c"}) {
				t.Fatalf("after Keep: held %q, want all three", got)
			}
			return
		}
		if !errors.Is(err, errInjected) {
			t.Errorf("step %d: cause lost: %v", n, err)
		}
		if len(l.held) != 0 {
			t.Errorf("step %d: left behind: %q", n, l.held)
		}
		if !slices.Equal(l.freed, want[n-1]) {
			t.Errorf("step %d: freed %q, want %q", n, l.freed, want[n-1])
		}
	}
}

func TestUnwindJoinsFailuresAndGoesOn(t *testing.T) {
	var s Stack
	ran := false
	broken := errors.New("still mounted")
	s.Push("oldest", func(context.Context) error { ran = true; return nil })
	s.Push("mount of disk", func(context.Context) error { return broken })
	err := errInjected
	s.Unwind(t.Context(), &err)
	if !errors.Is(err, errInjected) || !errors.Is(err, broken) {
		t.Errorf("got %v, want both causes", err)
	}
	if got, want := err.Error(), "injected\nundo mount of disk: still mounted"; got != want {
		t.Errorf("got text %q, want %q", got, want)
	}
	if !ran {
		t.Error("the older step did not run after the newer one failed")
	}
}

func TestUnwindReportsFailureWithoutACause(t *testing.T) {
	var s Stack
	s.Push("x", func(context.Context) error { return errInjected })
	var err error
	s.Unwind(t.Context(), &err)
	if !errors.Is(err, errInjected) {
		t.Errorf("got %v, want the step's failure", err)
	}
}

func TestUnwindTwiceRunsStepsOnce(t *testing.T) {
	var s Stack
	runs := 0
	s.Push("x", func(context.Context) error { runs++; return nil })
	var err error
	s.Unwind(t.Context(), &err)
	s.Unwind(t.Context(), &err)
	if runs != 1 || err != nil {
		t.Errorf("ran %d times, err %v; want once, nil", runs, err)
	}
}

// TestUnwindOutlivesCancellation asks that a cancelled caller still cleans up,
// and that a step which hangs is cut off by the budget.
func TestUnwindOutlivesCancellation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var s Stack
		s.Push("hang", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		s.Push("look", func(ctx context.Context) error { return ctx.Err() })
		err := context.Canceled
		start := time.Now()
		s.Unwind(ctx, &err)
		if got := time.Since(start); got != Budget {
			t.Errorf("took %v, want the budget %v", got, Budget)
		}
		if want := "context canceled\nundo hang: context deadline exceeded"; err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	})
}
