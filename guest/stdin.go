package guest

import (
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/forward"
)

// carryInput starts to copy Stdin to the program. The returned function ends
// that and has to be called once the channel is closed. It waits for a file's
// copying; another Reader can't be woken, its goroutine ends with its Read.
func (r *run) carryInput() (stop func()) {
	if r.cmd.Stdin == nil {
		_ = r.ch.CloseWrite() // a channel that is closed needs no EOF
		return func() {}
	}
	f, isFile := r.cmd.Stdin.(*os.File)
	if !isFile {
		go r.copyInput(r.cmd.Stdin)
		return func() {}
	}
	w, err := newWakeable(f)
	if err != nil {
		r.fail(err)
		_ = r.ch.Close()
		return func() {}
	}
	var copying sync.WaitGroup
	copying.Go(func() { r.copyInput(w) })
	return func() {
		w.wake()
		copying.Wait()
		w.close()
	}
}

// copyInput copies until EOF, a failure, or the end of the channel.
func (r *run) copyInput(from io.Reader) {
	in := &forward.Source{Reader: from}
	_, _ = io.Copy(r.ch, in) // a channel that can't be written to is closed: the exit tells
	if err := in.Err(); err != nil {
		r.fail(fmt.Errorf("read stdin: %w", err))
	}
	_ = r.ch.CloseWrite()
}

// A wakeable reads a file until it is woken, which looks like EOF then. It only
// reads when there is something to be read: no Read is left behind that would
// steal the next one's data.
type wakeable struct {
	f     *os.File
	event int // an eventfd, see eventfd(2)
}

func newWakeable(f *os.File) (*wakeable, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch stdin: %w", os.NewSyscallError("eventfd", err))
	}
	return &wakeable{f: f, event: fd}, nil
}

func (w *wakeable) Read(p []byte) (int, error) {
	woken, err := w.wait()
	if err != nil {
		return 0, err
	}
	if woken {
		return 0, io.EOF
	}
	return w.f.Read(p)
}

// wait waits until the file can be read (or has failed: Read tells) or until
// woken.
func (w *wakeable) wait() (woken bool, err error) {
	raw, err := w.f.SyscallConn()
	if err != nil {
		return false, err
	}
	var perr error
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(w.event), Events: unix.POLLIN}}
		for {
			_, perr = unix.Poll(fds, -1)
			if perr != unix.EINTR {
				break
			}
		}
		woken = fds[1].Revents != 0
	})
	if err != nil {
		return false, err
	}
	return woken, os.NewSyscallError("poll", perr)
}

// wake ends the waiting, now and later.
func (w *wakeable) wake() {
	_, _ = unix.Write(w.event, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // fails only at 2⁶⁴−1
}

func (w *wakeable) close() { _ = unix.Close(w.event) }
