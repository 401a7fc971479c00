package forward

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// A Relay carries connections. It bounds how many at once, and keeps the pipes
// that their bytes go through. It is safe for concurrent use.
type Relay struct {
	pipes pipes
	slots chan struct{} // one for each connection; nil for no bound

	spliced, copied atomic.Int64 // bytes, for tests
}

// NewRelay returns a Relay for most connections at once; 0 is no bound. Closing it
// closes the pipes that it keeps.
func NewRelay(most int) *Relay {
	r := &Relay{}
	if most > 0 {
		r.slots = make(chan struct{}, most)
	}
	return r
}

// Close gives back what is kept for the next connection. Those under way go on.
func (r *Relay) Close() error {
	r.pipes.close()
	return nil
}

// Join carries bytes between a and b until both directions have ended, one has
// failed, or ctx ends. It takes both over and closes them. The end of a direction
// is passed on by CloseWrite; after a failure both are closed by [Reset]. It
// returns the failure, or ctx's error.
func (r *Relay) Join(ctx context.Context, a, b Conn) error {
	j := &joint{r: r}
	stop := context.AfterFunc(ctx, func() { Reset(a); Reset(b) })
	var both sync.WaitGroup
	both.Go(func() { j.carry(b, a, &j.there) })
	both.Go(func() { j.carry(a, b, &j.back) })
	both.Wait()
	stop()
	_ = a.Close() // both directions have ended, or the failure is told
	_ = b.Close()
	if err := ctx.Err(); err != nil {
		return err
	}
	return j.err
}

// A joint is two connections that are joined.
type joint struct {
	r           *Relay
	there, back atomic.Bool // the direction has ended, before that is told to its target

	once sync.Once
	err  error
}

// carry carries one direction to its end.
func (j *joint) carry(to, from Conn, done *atomic.Bool) {
	err := j.r.flow(to, from)
	if leg, ok := from.(*Leg); ok && err == nil && !j.other(done).Load() {
		err = leg.ended()
	}
	done.Store(true)
	if err == nil {
		err = to.CloseWrite()
		if errors.Is(err, net.ErrClosed) || isGone(err) {
			err = nil // it takes no more, and the other direction tells
		}
	}
	if err != nil {
		j.once.Do(func() { j.err = err })
		Reset(to) // wakes the other direction
		Reset(from)
	}
}

// other returns whether the direction that is not done has ended.
func (j *joint) other(done *atomic.Bool) *atomic.Bool {
	if done == &j.there {
		return &j.back
	}
	return &j.there
}

// flow moves bytes until from has ended, and returns nil then.
func (r *Relay) flow(to, from Conn) error {
	in, out := rawOf(from), rawOf(to)
	if in != nil && out != nil {
		n, err := r.splice(out, in)
		r.spliced.Add(n)
		if !errors.Is(err, errNoSplice) {
			return err
		}
	}
	n, err := io.Copy(plainWriter{to}, plainReader{from})
	r.copied.Add(n)
	return err
}

// The plain ones hide what io.Copy would look for: whole buffers of its own are
// what is wanted here.
type (
	plainReader struct{ io.Reader }
	plainWriter struct{ io.Writer }
)
