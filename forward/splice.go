package forward

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// chunk is how much is moved at once, in bytes: what a pipe holds.
const chunk = 64 << 10

// errNoSplice says that the kernel does not splice between these two, or that
// there is no pipe to be had; nothing is lost.
var errNoSplice = errors.New("no splice between these")

// splice moves bytes until in has ended, and returns how many. The pipe is empty
// before each look at in, so that nothing to be read is the only reason to wait;
// and it is given back before the wait. It fails with errNoSplice, and as reading and
// writing do.
func (r *Relay) splice(out, in syscall.RawConn) (moved int64, err error) {
	for {
		p, n, err := r.fill(in)
		if err != nil || n == 0 {
			return moved, err
		}
		sent, err := drain(out, p, n)
		moved += int64(sent)
		if err != nil {
			if isNoSplice(err) {
				err = drainByHand(out, p, n-sent)
				moved += int64(n - sent)
				if err == nil {
					err = errNoSplice
				}
			}
			p.close()
			return moved, err
		}
		r.pipes.put(p)
	}
}

// fill waits for bytes and moves them into a pipe, which is the caller's. With 0
// bytes there is none: in has ended.
func (r *Relay) fill(in syscall.RawConn) (p pipe, n int, err error) {
	var serr error
	err = in.Read(func(fd uintptr) bool {
		if p, serr = r.pipes.take(); serr != nil {
			serr = errNoSplice // a buffer does as well
			return true
		}
		n, serr = spliceOnce(int(fd), p.w, chunk)
		if n > 0 && serr == nil {
			return true
		}
		r.pipes.put(p)
		return !errors.Is(serr, unix.EAGAIN)
	})
	switch {
	case err != nil:
		return pipe{}, 0, err
	case isNoSplice(serr):
		return pipe{}, 0, errNoSplice
	case serr != nil && !errors.Is(serr, errNoSplice):
		return pipe{}, 0, os.NewSyscallError("splice", serr)
	}
	return p, n, serr
}

// drain moves n bytes out of the pipe and returns how many went.
func drain(out syscall.RawConn, p pipe, n int) (sent int, err error) {
	var serr error
	err = out.Write(func(fd uintptr) bool {
		for sent < n {
			var m int
			if m, serr = spliceOnce(p.r, int(fd), n-sent); serr != nil {
				return !errors.Is(serr, unix.EAGAIN)
			}
			sent += m
		}
		return true
	})
	if err == nil && serr != nil {
		err = os.NewSyscallError("splice", serr)
	}
	return sent, err
}

// drainByHand sends the n bytes that are in the pipe.
func drainByHand(out syscall.RawConn, p pipe, n int) error {
	buf := make([]byte, n)
	for have := 0; have < n; {
		m, err := unix.Read(p.r, buf[have:])
		if err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("read", err)
		}
		have += max(m, 0)
	}
	var serr error
	err := out.Write(func(fd uintptr) bool {
		for len(buf) > 0 {
			m, err := unix.Write(int(fd), buf)
			switch {
			case errors.Is(err, unix.EINTR):
			case errors.Is(err, unix.EAGAIN):
				return false
			case err != nil:
				serr = err
				return true
			default:
				buf = buf[m:]
			}
		}
		return true
	})
	if err == nil && serr != nil {
		err = os.NewSyscallError("write", serr)
	}
	return err
}

func spliceOnce(from, to, n int) (int, error) {
	for {
		m, err := unix.Splice(from, nil, to, nil, n, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		if !errors.Is(err, unix.EINTR) {
			return int(m), err
		}
	}
}

// isNoSplice reports whether the kernel has no splice for one of the two; see
// splice(2).
func isNoSplice(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP)
}

// isGone reports whether the other side takes no more.
func isGone(err error) bool {
	return errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ENOTCONN)
}

// sendNothing asks a socket whether it could send.
func sendNothing(fd int) (int, error) {
	return unix.SendmsgN(fd, nil, nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
}
