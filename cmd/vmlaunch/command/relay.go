package command

import (
	"context"
	"io"

	"github.com/vmlaunch/vmlaunch/forward"
)

// relay passes bytes from in to conn and from conn to out until conn's side ends
// or ctx does. The end of in is told to the other side, which may go on. It takes
// conn over and closes it. It fails if in can't be read or out can't be written,
// and with ctx's error.
func relay(ctx context.Context, conn forward.Conn, in io.Reader, out io.Writer) error {
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
func send(conn forward.Conn, in *input) error {
	from := &forward.Source{Reader: in}
	_, _ = io.Copy(conn, from)
	_ = conn.CloseWrite() // it may be gone
	return from.Err()
}
