package forward

import (
	"sync"

	"golang.org/x/sys/unix"
)

// pipesKept bounds the pipes that wait for their next use. A connection has one
// only while bytes are on their way through it.
const pipesKept = 64

// A pipe is what splice(2) moves bytes through.
type pipe struct{ r, w int }

// pipes keeps empty pipes. The zero pipes is ready.
type pipes struct {
	mu     sync.Mutex
	empty  []pipe
	closed bool
}

// take returns an empty pipe, or fails as pipe2(2) does.
func (p *pipes) take() (pipe, error) {
	p.mu.Lock()
	if n := len(p.empty); n > 0 {
		last := p.empty[n-1]
		p.empty = p.empty[:n-1]
		p.mu.Unlock()
		return last, nil
	}
	p.mu.Unlock()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return pipe{}, err
	}
	return pipe{r: fds[0], w: fds[1]}, nil
}

// put takes back a pipe that is empty.
func (p *pipes) put(one pipe) {
	p.mu.Lock()
	keep := !p.closed && len(p.empty) < pipesKept
	if keep {
		p.empty = append(p.empty, one)
	}
	p.mu.Unlock()
	if !keep {
		one.close()
	}
}

func (p *pipes) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.empty {
		one.close()
	}
	p.empty, p.closed = nil, true
}

func (p pipe) close() {
	_ = unix.Close(p.r)
	_ = unix.Close(p.w)
}
