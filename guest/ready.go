package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// messageTime bounds one message from connect to its end. A guest sends it in
// one piece; in an emulator in an emulator that takes a second at worst.
const messageTime = 30 * time.Second

// maxTalkers bounds how many messages are received at once; more wait in the
// kernel's backlog.
const maxTalkers = 8

// maxExtra bounds how many different X_ keys are kept.
const maxExtra = 64

// received is what a guest gets for a message that was read whole. systemd does
// not wait for it; the built-in guest does, and says it again if it is missing,
// since the kernel accepts connections for a listener that is about to die.
const received = "\n"

// Ready hears of one machine's readiness: the guest pushes it in the sd_notify
// protocol over a vsock stream, one message a connection. It is safe for
// concurrent use.
type Ready struct {
	l        net.Listener
	cid      vsock.CID
	port     uint32
	onStatus func(string)

	parts sync.WaitGroup // the accepting goroutine and its talkers
	ready chan struct{}  // closed at the first READY=1
	once  sync.Once      // closes ready
	dead  chan struct{}  // closed when nothing is accepted any more

	order sync.Mutex // one message after the other

	mu      sync.Mutex
	last    Message // what was told so far, put together
	cause   error   // why dead is closed
	talkers map[net.Conn]struct{}
	closed  bool
}

// ListenReady listens inside ns, on a port of the kernel's choice if port is 0.
// Only the guest with cid is heard; everybody else is hung up on. onStatus, if
// not nil, gets each STATUS line, one at a time.
//
// It fails as [vsock.Listen] does. The caller closes the listener; the guest
// tries again until somebody listens, so that it may also be opened later.
func ListenReady(ns *netns.NS, cid vsock.CID, port uint32, onStatus func(string)) (*Ready, error) {
	var l *vsock.Listener
	err := ns.Do(func() (err error) {
		l, err = vsock.Listen(port)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("readiness of cid %d: %w", cid, err)
	}
	return hear(l, cid, l.Port(), onStatus), nil
}

// hear takes l over.
func hear(l net.Listener, cid vsock.CID, port uint32, onStatus func(string)) *Ready {
	r := &Ready{
		l: l, cid: cid, port: port, onStatus: onStatus,
		ready: make(chan struct{}), dead: make(chan struct{}), talkers: make(map[net.Conn]struct{}),
		last: Message{Extra: make(map[string]string)},
	}
	r.parts.Go(r.accept)
	return r
}

// Port returns the port that the guest has to be told.
func (r *Ready) Port() uint32 { return r.port }

// Told returns what the guest has told so far: the last status, and every X_
// line with its last value.
func (r *Ready) Told() Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.last
	m.Extra = maps.Clone(m.Extra)
	return m
}

// Wait returns nil as soon as the guest was ready. It fails with ctx's cause,
// with [net.ErrClosed] after Close, and if nothing can be accepted any more.
func (r *Ready) Wait(ctx context.Context) error {
	select {
	case <-r.ready:
		return nil
	default:
	}
	select {
	case <-r.ready:
		return nil
	case <-r.dead:
		return fmt.Errorf("wait until cid %d is ready: %w", r.cid, r.cause)
	case <-ctx.Done():
	}
	if status := r.Told().Status; status != "" {
		return fmt.Errorf("wait until cid %d is ready: %w (it said: %s)", r.cid, context.Cause(ctx), status)
	}
	return fmt.Errorf("wait until cid %d is ready: %w (it said nothing)", r.cid, context.Cause(ctx))
}

// Close stops listening and waits until onStatus is not called any more; so it
// must not be called from there. Closing twice is fine.
func (r *Ready) Close() error {
	r.mu.Lock()
	r.closed = true
	err := r.l.Close()
	for conn := range r.talkers {
		_ = conn.Close() // ends its talker
	}
	r.mu.Unlock()
	r.parts.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// accept takes one connection after the other until Close.
func (r *Ready) accept() {
	defer close(r.dead)
	slots := make(chan struct{}, maxTalkers)
	for {
		conn, err := r.l.Accept()
		if err != nil {
			r.cause = err // read after dead is closed only
			return
		}
		if !r.admit(conn) {
			_ = conn.Close()
			continue
		}
		slots <- struct{}{}
		r.parts.Go(func() {
			r.receive(conn)
			r.dismiss(conn)
			<-slots
		})
	}
}

// admit lets only our guest in.
func (r *Ready) admit(conn net.Conn) bool {
	peer, ok := conn.RemoteAddr().(*vsock.Addr)
	if !ok || peer.CID != r.cid {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.talkers[conn] = struct{}{}
	return true
}

func (r *Ready) dismiss(conn net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.talkers, conn)
	_ = conn.Close() // all was said
}

// receive reads one message. One that breaks off or is no message is as if it
// was never sent: the guest is told nothing, and tries again.
func (r *Ready) receive(conn net.Conn) {
	if conn.SetDeadline(time.Now().Add(messageTime)) != nil {
		return
	}
	text, err := io.ReadAll(io.LimitReader(conn, MaxMessage+1))
	if err != nil {
		return
	}
	m, err := ParseMessage(text)
	if err != nil {
		return
	}
	r.take(m)
	_, _ = io.WriteString(conn, received) // a guest that does not wait for it is gone
}

// take adds a message to what was told.
func (r *Ready) take(m Message) {
	r.order.Lock()
	defer r.order.Unlock()
	r.merge(m)
	if m.Status != "" && r.onStatus != nil {
		r.onStatus(m.Status)
	}
	if m.Ready {
		r.once.Do(func() { close(r.ready) })
	}
}

func (r *Ready) merge(m Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last.Ready = r.last.Ready || m.Ready
	if m.Status != "" {
		r.last.Status = m.Status
	}
	for k, v := range m.Extra {
		if _, known := r.last.Extra[k]; known || len(r.last.Extra) < maxExtra {
			r.last.Extra[k] = v
		}
	}
}
