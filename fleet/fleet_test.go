package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// TestEachHoldsTheLimit lets three of ten go at once, and no fourth.
func TestEachHoldsTheLimit(t *testing.T) {
	var now, most atomic.Int32
	three := make(chan struct{}) // closed when three are under way
	items := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	results := Each(t.Context(), items, 3, func(_ context.Context, i int) error {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if n == 3 && i < 3 {
			close(three)
		}
		<-three
		if i%2 == 1 {
			return fmt.Errorf("odd %d", i)
		}
		return nil
	})
	if most.Load() != 3 {
		t.Errorf("%d at once, want 3", most.Load())
	}
	for i, r := range results {
		want := ""
		if i%2 == 1 {
			want = fmt.Sprintf("odd %d", i)
		}
		if got := fmt.Sprint(r.Err); r.Item != i || want != "" && got != want || want == "" && r.Err != nil {
			t.Errorf("result %d is %+v", i, r)
		}
	}
}

// TestEachEndsWithItsContext begins no more once the context has ended, and
// waits for those that have begun.
func TestEachEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	ended := false
	results := Each(ctx, []int{1, 2, 3}, 1, func(ctx context.Context, _ int) error {
		cancel(why)
		<-ctx.Done()
		ended = true
		return nil
	})
	if !ended || results[0].Err != nil {
		t.Errorf("the first: ended %v, %v", ended, results[0].Err)
	}
	var left int
	for _, r := range results[1:] {
		if errors.Is(r.Err, why) {
			left++
		}
	}
	if left == 0 { // the last may be let in by the same select
		t.Errorf("results %+v, want those left out to say why", results)
	}
}

func TestAllowed(t *testing.T) {
	for _, c := range []struct {
		p    Pressure
		want int
	}{
		{Pressure{}, 20},
		{Pressure{CPU: 79.9, Memory: 9.9}, 20},
		{Pressure{CPU: 80}, 4},
		{Pressure{Memory: 10}, 1},
		{Pressure{CPU: 99, Memory: 50}, 1},
	} {
		if got := allowed(c.p, 2, 20); got != c.want {
			t.Errorf("%+v: %d, want %d", c.p, got, c.want)
		}
	}
	if got := allowed(Pressure{CPU: 90}, 8, 3); got != 3 {
		t.Errorf("under pressure %d, want no more than without", got)
	}
}

// TestGateGivesWayUnderPressure lets one in while memory is short, the second
// when it has left, and both at once when the pressure is gone.
func TestGateGivesWayUnderPressure(t *testing.T) {
	g := NewGate(2)
	var short atomic.Bool
	short.Store(true)
	g.pressure = func() (Pressure, error) {
		if short.Load() {
			return Pressure{Memory: 100}, nil
		}
		return Pressure{}, nil
	}
	if err := g.Enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancelCause(t.Context())
	why := errors.New("no more patience")
	cancel(why)
	if err := g.Enter(ended); !errors.Is(err, why) {
		t.Errorf("a second one under pressure: %v, want it held back", err)
	}
	second := make(chan error)
	go func() { second <- g.Enter(t.Context()) }()
	g.Leave()
	if err := <-second; err != nil {
		t.Error(err)
	}
	short.Store(false)
	if err := g.Enter(t.Context()); err != nil {
		t.Error(err)
	}
	if g.busy != 2 {
		t.Errorf("%d in it, want 2", g.busy)
	}
	g.pressure = func() (Pressure, error) { return Pressure{}, why }
	if err := g.Enter(t.Context()); !errors.Is(err, why) {
		t.Errorf("unreadable pressure: %v", err)
	}
}

func TestParsePressure(t *testing.T) {
	got, err := parsePressure("some avg10=12.50 avg60=3.00 avg300=1.00 total=12345\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")
	if err != nil || got != 12.5 {
		t.Errorf("got %v, %v, want 12.5", got, err)
	}
	for _, bad := range []string{"", "some", "some avg60=1", "some avg10=x", "some avg10=101", "some avg10=-1", "some avg10=NaN", "full avg10=1"} {
		if got, err := parsePressure(bad); err == nil {
			t.Errorf("%q: %v, want an error", bad, got)
		}
	}
	if _, err := ReadPressure(); err != nil {
		t.Error(err)
	}
}

func FuzzParsePressure(f *testing.F) {
	f.Add("some avg10=12.50 avg60=3.00\n")
	f.Fuzz(func(t *testing.T, text string) {
		if v, err := parsePressure(text); err == nil && !(v >= 0 && v <= 100) {
			t.Errorf("%q: %v", text, v)
		}
	})
}

// TestGateReadsThePressureOnceATick asks that those who wait do not each read it.
func TestGateReadsThePressureOnceATick(t *testing.T) {
	g := NewGate(8)
	reads := 0
	g.pressure = func() (Pressure, error) { reads++; return Pressure{}, nil }
	if err := g.Enter(t.Context()); err != nil || reads != 1 {
		t.Fatalf("%d reads for the first (%v), want 1", reads, err)
	}
	g.looked = time.Now().Add(time.Hour) // the tick has not passed, however slow this is
	for range 7 {
		if err := g.Enter(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if reads != 1 {
		t.Errorf("%d reads within a tick, want 1", reads)
	}
}
