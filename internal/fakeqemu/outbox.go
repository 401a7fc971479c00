package fakeqemu

import (
	"net"
	"sync"
	"time"
)

// An outbox sends to one client what it is given, in order. Like QEMU it never
// waits for a client that does not read.
type outbox struct {
	conn  net.Conn
	piece int // bytes in one write at most; 0 is no limit

	mu      sync.Mutex
	changed *sync.Cond
	buf     []byte
	sending bool
	closed  bool
}

func newOutbox(conn net.Conn, piece int) *outbox {
	o := &outbox{conn: conn, piece: piece}
	o.changed = sync.NewCond(&o.mu)
	go o.send()
	return o
}

func (o *outbox) add(b []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf = append(o.buf, b...)
	o.changed.Broadcast()
}

// send ends when the outbox is closed or the client is gone.
func (o *outbox) send() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.closed {
		if len(o.buf) == 0 {
			o.changed.Wait()
			continue
		}
		b := o.buf
		if o.piece > 0 && len(b) > o.piece {
			b = b[:o.piece]
		}
		o.buf = o.buf[len(b):]
		o.sending = true
		o.mu.Unlock()
		_, err := o.conn.Write(b)
		o.mu.Lock()
		o.sending = false
		o.closed = o.closed || err != nil
		o.changed.Broadcast()
	}
}

// flush waits until all is sent, but not long for a client that does not read.
func (o *outbox) flush() {
	o.conn.SetWriteDeadline(time.Now().Add(time.Second))
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.closed && (len(o.buf) > 0 || o.sending) {
		o.changed.Wait()
	}
}

func (o *outbox) close() {
	o.conn.Close()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.changed.Broadcast()
}
