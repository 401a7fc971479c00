package qmp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

const (
	// maxPath is the longest path of a Unix socket, in bytes: sun_path of
	// unix(7) less the final zero.
	maxPath = 107

	// redial is the pause between dials while the socket's queue is full.
	// The kernel gives no way to wait for room in it.
	redial = 10 * time.Millisecond
)

// Dial connects to the monitor at the Unix socket path and does the handshake.
// The caller closes the client.
//
// It fails with [ErrGone] if nobody listens there (with the cause: no such
// file, connection refused) or QEMU ends during the handshake, with [ErrBusy]
// and ctx's error if it is not served before ctx ends, with a [*ProtocolError]
// if something else answers. A context without a deadline gets [Timeout].
func Dial(ctx context.Context, path string) (*Client, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	conn, err := connect(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("dial monitor %q: %w", path, err)
	}
	c, err := New(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("dial monitor %q: %w", path, err)
	}
	return c, nil
}

func connect(ctx context.Context, path string) (net.Conn, error) {
	if err := errors.Join(checkPath(path), ctx.Err()); err != nil {
		return nil, err
	}
	for {
		// Without ctx, as it never waits: a full queue is an error.
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		switch {
		case err == nil:
			return conn, nil
		case errors.Is(err, syscall.EAGAIN): // QEMU lets two clients wait
		case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET):
			return nil, gone(errors.Unwrap(err))
		default:
			return nil, errors.Unwrap(err)
		}
		select {
		case <-time.After(redial):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: its queue is full: %w", ErrBusy, ctx.Err())
		}
	}
}

// Listen makes the socket at path that a QEMU about to be started will listen
// on, and returns it for exec.Cmd's ExtraFiles; the caller closes it as soon as
// QEMU was started. A dial then never comes too early, and it fails at once if
// QEMU dies. Only this user can connect.
//
// QEMU removes the file when it exits in order; else the caller has to. Listen
// fails with an error that matches [syscall.EADDRINUSE] if path exists.
func Listen(path string) (*os.File, error) {
	if err := checkPath(path); err != nil {
		return nil, fmt.Errorf("listen on monitor %q: %w", path, err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on monitor %q: %w", path, err)
	}
	l.SetUnlinkOnClose(false) // the file stays, for QEMU
	defer l.Close()
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on monitor: %w", err), os.Remove(path))
	}
	f, err := l.File()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen on monitor: %w", err), os.Remove(path))
	}
	return f, nil
}

// checkPath fails for a path that no Unix socket can have, and for one in the
// abstract space, which would tie the monitor to a network namespace.
func checkPath(path string) error {
	switch {
	case path == "" || path[0] == '@':
		return errors.New("not a file path")
	case len(path) > maxPath:
		return fmt.Errorf("path has %d bytes, a socket allows %d (choose a shorter --root)", len(path), maxPath)
	}
	return nil
}
