package command

import (
	"context"
	"errors"
	"io"
	"net"
	"os"

	"golang.org/x/term"
)

// attach connects a console to in and out until the console ends, the user
// detaches with ~. or ctx ends. A terminal is put into raw mode meanwhile, so
// that Ctrl-C is the guest's. It takes conn over and closes it. The end of in
// alone ends nothing: a service has no input. It fails if the terminal can't be
// set up or out can't be written.
func attach(ctx context.Context, conn net.Conn, in io.Reader, out io.Writer) error {
	defer conn.Close()
	tty, isTerminal := terminal(in)
	if isTerminal {
		before, err := term.MakeRaw(int(tty.Fd()))
		if err != nil {
			return err
		}
		defer func() { _ = term.Restore(int(tty.Fd()), before) }() // it may have gone away
	}
	stdin, err := newInput(in)
	if err != nil {
		return err
	}
	typed := make(chan struct{})
	go func() {
		defer close(typed)
		if sendTyped(conn, stdin, isTerminal) {
			conn.Close() // detached
		}
	}()
	defer func() { stdin.Stop(); <-typed }()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()

	_, err = io.Copy(out, conn)
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, ctx.Err())
}

// sendTyped copies in to conn, and reports whether the user asked to detach.
func sendTyped(conn io.Writer, in io.Reader, escape bool) (detach bool) {
	e := newEscapes()
	buf := make([]byte, 4096)
	for {
		n, err := in.Read(buf)
		text := buf[:n]
		if escape {
			text, detach = e.Pass(text)
		}
		if len(text) > 0 {
			if _, werr := conn.Write(text); werr != nil {
				return false
			}
		}
		if err != nil || detach {
			return detach
		}
	}
}

// input is a reader whose Read can be ended, which a terminal's or a pipe's
// can't: it waits for something to read or for Stop. What is not a file is read
// as it is.
type input struct {
	r          io.Reader
	file       *os.File // nil if r is none
	wake, stop *os.File // two ends of a pipe
}

// newInput returns an input that reads r. The caller calls Stop. It fails if
// there are no descriptors left.
func newInput(r io.Reader) (*input, error) {
	file, ok := r.(*os.File)
	if !ok {
		return &input{r: r}, nil
	}
	wake, stop, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return &input{r: r, file: file, wake: wake, stop: stop}, nil
}

// Read reads what there is, or returns io.EOF once Stop was called.
func (i *input) Read(p []byte) (int, error) {
	if i.file == nil {
		return i.r.Read(p)
	}
	if ready, err := pollEither(i.file, i.wake); err != nil || !ready {
		return 0, errors.Join(err, io.EOF)
	}
	return i.file.Read(p)
}

// Stop ends a Read that waits, and all later ones.
func (i *input) Stop() {
	if i.stop != nil {
		i.stop.Close() // the other end becomes readable: end of file
	}
}
