package qmp

import (
	"context"
	"fmt"
	"slices"
	"sync"

	goqmp "github.com/digitalocean/go-qemu/qmp"
)

// EventBuffer is how many events a client keeps. A launch makes about ten, a
// subscriber reads 200 000 a second; who falls this far behind is told so.
const EventBuffer = 1024

// Event is something that QEMU reported by itself, such as SHUTDOWN.
type Event = goqmp.Event

// An OverflowError says that a subscriber was too slow and lost events.
type OverflowError struct{ Lost uint64 }

func (e *OverflowError) Error() string {
	return fmt.Sprintf("%d events lost: the subscriber was too slow", e.Lost)
}

// An eventLog keeps the latest events of one conversation for any number of
// readers, each at its own place. Nobody waits for a slow reader, and a reader
// that is given up costs nothing. It is safe for concurrent use.
type eventLog struct {
	mu    sync.Mutex
	ring  []Event       // grows to EventBuffer; event n is at ring[n%EventBuffer]
	next  uint64        // number of the event to come
	news  chan struct{} // closed at the next change; nil while nobody waits
	cause error         // why no event will come; nil while one may
}

func (l *eventLog) add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ring) < EventBuffer {
		l.ring = append(l.ring, e)
	} else {
		l.ring[l.next%EventBuffer] = e
	}
	l.next++
	l.wake()
}

func (l *eventLog) end(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cause = cause
	l.wake()
}

// wake ends the wait of every reader. The caller holds mu.
func (l *eventLog) wake() {
	if l.news != nil {
		close(l.news)
		l.news = nil
	}
}

// oldest is the number of the oldest event that is kept. The caller holds mu.
func (l *eventLog) oldest() uint64 { return l.next - uint64(len(l.ring)) }

// at returns event n and the number to ask for next. While there is no event n
// it returns a channel that is closed when it is worth asking again. Fails with
// an [*OverflowError] if n is no longer kept, or with the end of the log.
func (l *eventLog) at(n uint64) (e Event, next uint64, news <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	oldest := l.oldest()
	switch {
	case n < oldest:
		return Event{}, oldest, nil, &OverflowError{Lost: oldest - n}
	case n < l.next:
		return l.ring[n%EventBuffer], n + 1, nil, nil
	case l.cause != nil:
		return Event{}, n, nil, l.cause
	}
	if l.news == nil {
		l.news = make(chan struct{})
	}
	return Event{}, n, l.news, nil
}

// A Subscription reads the events of one client at its own pace. Any number of
// them see every event; each is for one goroutine. It needs no closing.
type Subscription struct {
	log  *eventLog
	next uint64
}

// Subscribe returns a subscription to the events that come from now on.
// Subscribe before the command whose events matter.
func (c *Client) Subscribe() *Subscription {
	c.events.mu.Lock()
	defer c.events.mu.Unlock()
	return &Subscription{log: c.events, next: c.events.next}
}

// SubscribeAll returns a subscription that begins with the first event since
// the connection was made, even one that came together with the handshake.
func (c *Client) SubscribeAll() *Subscription { return &Subscription{log: c.events} }

// Next waits for the next event. It fails with ctx's error when ctx ends (there
// is no other bound: an event may never come), and with [Client.Err] when the
// conversation is over and all its events have been read. An [*OverflowError]
// stands where events were lost; the oldest one kept follows it.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	for {
		e, next, news, err := s.log.at(s.next)
		s.next = next
		if err != nil || news == nil {
			return e, err
		}
		select {
		case <-news:
		case <-ctx.Done():
			return Event{}, fmt.Errorf("wait for event: %w", ctx.Err())
		}
	}
}

// Await waits for an event of one of these names and skips all others. It fails
// as Next does. After an [*OverflowError] the event may be among the lost ones:
// ask for the state that it would have told of.
func (s *Subscription) Await(ctx context.Context, names ...string) (Event, error) {
	for {
		e, err := s.Next(ctx)
		if err != nil || slices.Contains(names, e.Event) {
			return e, err
		}
	}
}
