package scenario

import (
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// A listener greets whoever connects with its name, and then sends back what
// comes. Close ends it, and its connections.
type listener struct {
	*vsock.Listener
	name string

	mu    sync.Mutex
	conns map[net.Conn]bool
	over  bool
	all   sync.WaitGroup
}

// listen begins to listen in a namespace.
func (st *stage) listen(s configs.Step) seen {
	ns, err := st.enter(s.In)
	if err != nil {
		return seen{err: err}
	}
	defer ns.Close()
	l := &listener{name: s.As, conns: map[net.Conn]bool{}}
	err = ns.Do(func() (err error) {
		l.Listener, err = vsock.Listen(s.Port)
		return err
	})
	if err != nil {
		return seen{err: err}
	}
	l.all.Go(l.serve)
	st.keep(s.As, l)
	return seen{note: fmt.Sprintf("port %d", l.Port())}
}

// serve accepts until the listener is closed.
func (l *listener) serve() {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if !l.add(c) {
			_ = c.Close()
			return
		}
		l.all.Go(func() {
			defer l.drop(c)
			if _, err := fmt.Fprintf(c, "%s%s\n", listenGreeting, l.name); err == nil {
				_, _ = io.Copy(c, c) // ends with the peer, or with Close
			}
		})
	}
}

func (l *listener) add(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		l.conns[c] = true
	}
	return !l.over
}

func (l *listener) drop(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
	_ = c.Close()
}

// Close ends the listener and its connections, and waits until they have. It
// fails as the closing of the socket does; closing twice is fine.
func (l *listener) Close() error {
	l.mu.Lock()
	if l.over {
		l.mu.Unlock()
		return nil
	}
	l.over = true
	for c := range l.conns {
		_ = c.Close()
	}
	l.mu.Unlock()
	err := l.Listener.Close()
	l.all.Wait()
	return err
}
