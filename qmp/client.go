// Package qmp holds a typed, bounded conversation with one QEMU over its
// machine protocol, QMP (see docs/interop/qmp-spec.rst in QEMU's source).
//
// The words and the typed commands are those of go-qemu: [Event] and [Version]
// are its types, and a [Client] is a go-qemu qmp.Monitor, so raw.NewMonitor and
// qemu.NewDomain work on it. The transport is our own because go-qemu's
// SocketMonitor knows no deadline, can't read a reply over 64 KiB, loses events
// and, when an event follows a reply closely, returns the event as the reply.
package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"time"

	goqmp "github.com/digitalocean/go-qemu/qmp"
)

// Timeout bounds a call whose context has no deadline. It is what the slowest
// commands (a screen dump, a block job on a loaded host) were seen to need.
const Timeout = 30 * time.Second

// Version is what QEMU says it is.
type Version = goqmp.Version

// Greeting is the first thing that QEMU says on a connection.
type Greeting struct {
	Version      Version  `json:"version"`
	Capabilities []string `json:"capabilities"`
}

// A Client is one connection to one QEMU's monitor. QEMU serves one client per
// monitor at a time, so hold it no longer than needed. All methods are safe for
// concurrent use; commands run in the order in which they were sent.
//
// A call that ends early, because its context does, leaves the connection good:
// the late reply is dropped. Whether QEMU carries the command out is then open.
type Client struct {
	conn     net.Conn
	greeting Greeting
	events   *eventLog
	streams  sync.WaitGroup // the goroutines of [Client.Events]

	// writing has room for the one call that may write. It is a channel, not
	// a mutex, so that waiting for it ends with the waiter's context.
	writing chan struct{}
	unsent  []byte // the rest of a command cut short by its context; with writing

	greeted chan struct{} // closed when greeting is set
	done    chan struct{} // closed when the reader has ended and cause is set
	closing chan struct{} // closed when Close was called

	mu      sync.Mutex
	cause   error                     // why the conversation is over; nil while it is not
	last    uint64                    // id of the latest command
	pending map[uint64]chan<- message // who waits for the reply to which command
}

// New begins a conversation on conn and owns conn from now on: it is closed by
// [Client.Close], or before New returns an error. [Dial] tells the errors.
func New(ctx context.Context, conn net.Conn) (*Client, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()

	c := &Client{
		conn:    conn,
		events:  new(eventLog),
		writing: make(chan struct{}, 1),
		greeted: make(chan struct{}),
		done:    make(chan struct{}),
		closing: make(chan struct{}),
		pending: map[uint64]chan<- message{},
	}
	go c.read()
	if err := c.negotiate(ctx); err != nil {
		c.Close() // always nil
		return nil, err
	}
	return c, nil
}

func (c *Client) negotiate(ctx context.Context) error {
	select {
	case <-c.greeted:
	case <-c.done:
		return c.cause
	case <-ctx.Done():
		return fmt.Errorf("%w: no greeting: %w", ErrBusy, ctx.Err())
	}
	return c.Execute(ctx, "qmp_capabilities", nil, nil)
}

// Close ends the conversation, waits for everything the client started and
// returns nil. Calls under way fail with [net.ErrClosed], as do later ones.
// Closing again is fine.
func (c *Client) Close() error {
	c.end(net.ErrClosed)
	c.mu.Lock()
	if !isClosed(c.closing) {
		close(c.closing)
	}
	c.mu.Unlock()
	<-c.done
	c.streams.Wait()
	return nil
}

// Greeting returns what QEMU said when the connection was made. It costs no
// round trip.
func (c *Client) Greeting() Greeting { return c.greeting }

// Done is closed when the conversation is over: QEMU has gone, it broke the
// protocol, or Close was called. [Client.Err] then tells which.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns nil while the conversation lasts, and after it an error that
// matches [ErrGone], a [*ProtocolError] or [net.ErrClosed].
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// Execute runs a command and decodes what it returns into result. Args is
// encoded as JSON and has to become an object; nil means none. A nil result
// drops the answer.
//
// It fails with [*Error] if QEMU refuses the command, with [ErrGone] if QEMU
// goes away first, and with ctx's error when ctx ends; a context without a
// deadline gets [Timeout].
func (c *Client) Execute(ctx context.Context, command string, args, result any) error {
	answer, err := c.call(ctx, request{Execute: command, Arguments: args})
	if err != nil {
		return fmt.Errorf("qmp %s: %w", command, err)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(answer, result); err != nil {
		return fmt.Errorf("qmp %s: read answer: %w", command, err)
	}
	return nil
}

// call sends r and returns what QEMU's reply holds under "return".
func (c *Client) call(ctx context.Context, r request) (json.RawMessage, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()

	replies := make(chan message, 1) // room for the reply of a caller that has left
	id, err := c.expect(replies)
	if err != nil {
		return nil, err
	}
	defer c.forget(id)

	r.ID = id
	line, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	if err := c.write(ctx, append(line, '\n')); err != nil {
		return nil, err
	}
	select {
	case m := <-replies:
		return m.result()
	case <-c.done:
	case <-ctx.Done():
	}
	select {
	case m := <-replies: // it came in time and lost a draw
		return m.result()
	default:
	}
	if err := c.Err(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("wait for answer: %w", ctx.Err())
}

// expect gives out a command id whose reply goes to replies. It fails when the
// conversation is over.
func (c *Client) expect(replies chan<- message) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return 0, c.cause
	}
	c.last++
	c.pending[c.last] = replies
	return c.last, nil
}

// forget stops waiting for the reply to command id.
func (c *Client) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, id)
}

// write sends one line, in turn. A line cut short by ctx is finished by the
// next call, so that the stream never holds half a command followed by another.
func (c *Client) write(ctx context.Context, line []byte) error {
	select {
	case c.writing <- struct{}{}:
	case <-c.done:
		return c.Err()
	case <-ctx.Done():
		return fmt.Errorf("wait to send: %w", ctx.Err())
	}
	defer func() { <-c.writing }()

	n, err := writeUntil(ctx, c.conn, append(c.unsent, line...))
	switch rest := len(c.unsent) + len(line) - n; {
	case rest == 0:
		c.unsent = nil
	case rest < len(line): // begun: it has to be finished
		c.unsent = append([]byte(nil), line[len(line)-rest:]...)
	default: // not begun: withdrawn
		c.unsent = c.unsent[n:]
	}
	switch {
	case err == nil:
		return nil
	case c.Err() != nil:
		return c.Err()
	case ctx.Err() != nil:
		return fmt.Errorf("send: %w", ctx.Err())
	}
	return gone(err)
}

// writeUntil writes b to conn and gives up when ctx ends.
func writeUntil(ctx context.Context, conn net.Conn, b []byte) (int, error) {
	if err := conn.SetWriteDeadline(time.Time{}); err != nil {
		return 0, err
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = conn.SetWriteDeadline(time.Unix(1, 0)) // any time in the past
	})
	n, err := conn.Write(b)
	if !stop() {
		<-interrupted // or it would hit the next writer
	}
	return n, err
}

// read hands each message to whom it is for, until the conversation is over.
func (c *Client) read() {
	defer close(c.done)
	r := bufio.NewReaderSize(c.conn, 32<<10)
	for {
		line, err := readLine(r)
		if err == nil {
			err = c.receive(line)
		}
		if err != nil {
			c.end(err)
			return
		}
	}
}

// receive takes one line. It fails if the line has no place in QMP.
func (c *Client) receive(line []byte) error {
	m, err := decode(line)
	if err != nil {
		return err
	}
	switch greeted := isClosed(c.greeted); {
	case m.greeting != nil && !greeted:
		c.greeting = *m.greeting
		close(c.greeted)
	case m.greeting != nil || !greeted:
		return &ProtocolError{Line: clip(line), Reason: "not what a monitor says at this point"}
	case m.event != nil:
		c.events.add(*m.event)
	default:
		return c.deliver(m, line)
	}
	return nil
}

// deliver hands a reply to the call that waits for it. A reply nobody waits for
// any more is dropped, one to a command that was never sent is an error.
func (c *Client) deliver(m message, line []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.id == 0 || m.id > c.last {
		return &ProtocolError{Line: clip(line), Reason: "answers no command of ours"}
	}
	if replies, ok := c.pending[m.id]; ok {
		delete(c.pending, m.id)
		replies <- m
	}
	return nil
}

// end makes cause the reason why the conversation is over, unless there is one
// already, and closes the connection, which ends the reader.
func (c *Client) end(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return
	}
	c.cause = cause
	c.conn.Close() // its error says nothing about the peer
	c.events.end(cause)
}

// bounded is ctx if it has a deadline, else ctx with [Timeout].
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, Timeout)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
