package main

import (
	"errors"
	"io"
	"net"
	"time"
)

// serveEcho sends back what comes, on every connection, until l is closed. See
// RFC 862.
func serveEcho(con console, l net.Listener) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			con.printf("accept: %v", err)
			time.Sleep(acceptPause) //nolint:forbidigo // out of descriptors, say: nothing to be seen
			continue
		}
		go func() { // ends with its connection
			_, _ = io.Copy(conn, conn) // whichever side fails: it is over
			_ = conn.Close()
		}()
	}
}
