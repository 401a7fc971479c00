package command

import (
	"context"
	"errors"
	"io"
	"net"
)

// relay passes bytes from in to conn and from conn to out until conn's side ends
// or ctx does. The end of in is told to the other side, which may go on. It takes
// conn over and closes it. It fails if in can't be read or out can't be written,
// and with ctx's error.
func relay(ctx context.Context, conn net.Conn, in io.Reader, out io.Writer) error {
	defer conn.Close()
	stdin, err := newInput(in)
	if err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() { sent <- send(conn, stdin) }()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	_, err = io.Copy(out, conn)
	stdin.Stop()
	if serr := <-sent; err == nil {
		err = serr
	}
	if cerr := ctx.Err(); cerr != nil {
		return cerr
	}
	return err
}

// send copies in to conn and ends that direction with in. A side that takes no
// more is no failure of ours: the other direction tells. It fails if in can't be
// read.
func send(conn net.Conn, in *input) error {
	from := &remembering{Reader: in}
	_, _ = io.Copy(conn, from)
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // it may be gone
	}
	return from.err
}

// remembering remembers how its Reader failed, which io.Copy does not tell from
// how its Writer failed.
type remembering struct {
	io.Reader
	err error
}

func (r *remembering) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}
