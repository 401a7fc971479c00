package forward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// acceptPause is how long a listener rests at most when there are no descriptors
// or no memory for one more connection. One that ends meanwhile ends the rest.
const acceptPause = time.Second

// A Server takes what comes to one listener. All fields must be given.
type Server struct {
	Listener net.Listener // its connections are a [Conn] each
	Relay    *Relay       // its room is what the connections share
	// Handle takes a connection over and serves it to its end. It returns soon when
	// ctx ends. How it fails is said.
	Handle func(context.Context, Conn) error
	// Say is told of what goes wrong, in one line, by several goroutines at once:
	// how Handle fails, and that there are too many connections.
	Say func(string)
}

// To returns a handler that joins each connection with one that dial makes. A
// connection for which that fails is reset.
func (r *Relay) To(dial func(context.Context) (Conn, error)) func(context.Context, Conn) error {
	return func(ctx context.Context, client Conn) error {
		there, err := dial(ctx)
		if err != nil {
			Reset(client)
			return err
		}
		_ = r.Join(ctx, client, there) // both sides were told
		return nil
	}
}

// Serve accepts connections and has each handled, until ctx ends; it takes the
// listener over and closes it before it returns, when all handlers have. Where there
// are too many connections, for the Relay or for the limits of this process, further ones
// wait for their turn. Serve returns ctx's error, or the listener's if it fails.
func (s *Server) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = s.Listener.Close() })
	ended := make(chan struct{}, 1) // one that waits stands for all
	var open sync.WaitGroup
	defer func() {
		cancel()
		stop()
		_ = s.Listener.Close()
		open.Wait()
	}()
	for {
		if err := s.slot(ctx); err != nil {
			return err
		}
		client, err := s.accept(ctx, ended)
		if err != nil {
			s.free()
			return err
		}
		open.Go(func() {
			defer func() {
				s.free()
				select {
				case ended <- struct{}{}:
				default:
				}
			}()
			if err := s.Handle(ctx, client); err != nil && ctx.Err() == nil {
				s.Say(err.Error())
			}
		})
	}
}

// accept waits for the next connection, and over shortages.
func (s *Server) accept(ctx context.Context, ended <-chan struct{}) (Conn, error) {
	for short := false; ; {
		conn, err := s.Listener.Accept()
		if err == nil {
			client, ok := conn.(Conn)
			if !ok {
				return nil, errors.Join(fmt.Errorf("accept: a %T can't end one direction", conn), conn.Close())
			}
			return client, nil
		}
		if cerr := ctx.Err(); cerr != nil {
			return nil, cerr
		}
		switch {
		case errors.Is(err, unix.ECONNABORTED): // it was quicker than we
			continue
		case !isShortage(err):
			return nil, fmt.Errorf("accept: %w", err)
		case !short:
			short = true
			s.Say(fmt.Sprintf("%v: further connections wait (try: ulimit -n)", err))
		}
		select {
		case <-ended:
		case <-time.After(acceptPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// isShortage reports whether there will be room when a connection ends.
func isShortage(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM)
}

// slot waits for room in the Relay.
func (s *Server) slot(ctx context.Context) error {
	if s.Relay.slots == nil {
		return ctx.Err()
	}
	select {
	case s.Relay.slots <- struct{}{}:
		return nil
	default:
		s.Say(fmt.Sprintf("%d connections at once: further ones wait (try: ulimit -n)", cap(s.Relay.slots)))
	}
	select {
	case s.Relay.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Server) free() {
	if s.Relay.slots != nil {
		<-s.Relay.slots
	}
}
