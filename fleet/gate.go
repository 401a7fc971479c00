package fleet

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// What a host is taken to be short of, in percent of the last ten seconds. Some
// task waits for a processor nearly always while machines boot; one that waits for
// memory means that pages are being fetched back that were just given away.
const (
	shortOfCPU    = 80
	shortOfMemory = 10
)

// gateTick is how often a gate that is held back looks at the pressure again:
// the kernel renews its averages every two seconds.
const gateTick = 500 * time.Millisecond

// A Gate holds starts back: at most so many are under way at once, fewer while
// the host is short of processors, and one at a time while it is short of memory.
// It is safe for concurrent use.
type Gate struct {
	most     int
	cpus     int
	pressure func() (Pressure, error)

	mu   sync.Mutex
	busy int
	left chan struct{} // closed when somebody leaves

	looked time.Time // when the pressure was read last
	last   Pressure
}

// NewGate returns a gate for this host; most of 0 is four for each processor.
func NewGate(most int) *Gate {
	cpus := runtime.NumCPU()
	if most <= 0 {
		most = 4 * cpus
	}
	return &Gate{most: most, cpus: cpus, pressure: ReadPressure, left: make(chan struct{})}
}

// allowed returns how many starts may be under way at once. It is a pure function.
func allowed(p Pressure, cpus, most int) int {
	switch {
	case p.Memory >= shortOfMemory:
		return 1
	case p.CPU >= shortOfCPU:
		return max(1, min(2*cpus, most))
	}
	return max(1, most)
}

// Enter waits until one more start may begin; the caller calls Leave when it is
// through. It fails with the cause when ctx ends first.
func (g *Gate) Enter(ctx context.Context) error {
	tick := time.NewTicker(gateTick)
	defer tick.Stop()
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		free, left, err := g.try()
		if free || err != nil {
			return err
		}
		select {
		case <-left:
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// try takes a place if there is a free one; else left is closed when one may have
// become free. The pressure is read once a tick, however many wait.
func (g *Gate) try() (free bool, left chan struct{}, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.looked) >= gateTick {
		if g.last, err = g.pressure(); err != nil {
			return false, nil, err
		}
		g.looked = time.Now()
	}
	free = g.busy < allowed(g.last, g.cpus, g.most)
	if free {
		g.busy++
	}
	return free, g.left, nil
}

// Leave lets the next one in.
func (g *Gate) Leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy--
	close(g.left)
	g.left = make(chan struct{})
}
