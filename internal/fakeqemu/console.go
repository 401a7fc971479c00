package fakeqemu

import (
	"net"
	"os"
	"sync"
)

// A console is a serial line with at most one client. What the guest prints
// goes to the log and to the client, if there is one; what the client types
// comes back as an echo.
type console struct {
	listener *net.UnixListener
	log      *os.File // nil for none

	mu     sync.Mutex
	client *outbox // nil for none
}

// openConsole opens the chardev g, and its logfile= if it has one.
func openConsole(g group) (*console, error) {
	l, err := listen(g)
	if err != nil {
		return nil, err
	}
	c := &console{listener: l}
	path := g["logfile"]
	if path == "" {
		return c, nil
	}
	flag := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	if g["logappend"] == "on" {
		flag = os.O_WRONLY | os.O_CREATE | os.O_APPEND
	}
	c.log, err = os.OpenFile(path, flag, 0o666) // QEMU's mode
	return c, err
}

func (c *console) serve() {
	for {
		conn, err := c.listener.AcceptUnix()
		if err != nil {
			return // the machine is leaving
		}
		c.attach(newOutbox(conn, 0))
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				break
			}
			c.print(string(buf[:n]))
		}
		c.attach(nil)
	}
}

func (c *console) attach(client *outbox) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client != nil {
		c.client.close()
	}
	c.client = client
}

func (c *console) print(s string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.log != nil {
		c.log.WriteString(s)
	}
	if c.client != nil {
		c.client.add([]byte(s))
	}
}

func (c *console) leave() {
	c.listener.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client != nil {
		c.client.flush()
	}
}
