package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// eot is what a terminal in its usual mode takes for the end of input.
const eot = 0x04

// A windowSize is the payload of window-change and a part of pty-req's, RFC
// 4254, 6.2 and 6.7. Pixels may be 0.
type windowSize struct{ Columns, Rows, Width, Height uint32 }

// A terminal is a pseudo terminal that a session owns.
type terminal struct {
	name   string // TERM
	master *os.File
	slave  *os.File // closed once the program has it
}

// openTerminal grants a pty-req. The terminal's modes stay at the kernel's
// defaults; the client's list of them is not looked at.
func (s *session) openTerminal(payload []byte) bool {
	var m struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}
	if ssh.Unmarshal(payload, &m) != nil {
		return false
	}
	t, err := newTerminal(m.Term, windowSize{m.Columns, m.Rows, m.Width, m.Height})
	if err != nil {
		s.srv.con.printf("%v", err)
		return false
	}
	s.term = t
	return true
}

// newTerminal opens a pair. It fails where there is no devpts.
func newTerminal(name string, size windowSize) (*terminal, error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open terminal: %w", err)
	}
	t := &terminal{name: name, master: master}
	if err := t.openSlave(); err != nil {
		t.close()
		return nil, fmt.Errorf("open terminal: %w", err)
	}
	if err := t.resize(size); err != nil {
		t.close()
		return nil, fmt.Errorf("open terminal: %w", err)
	}
	return t, nil
}

// openSlave unlocks the pair and opens the other side by number, see pts(4).
func (t *terminal) openSlave() error {
	var number int
	err := t.control(func(fd int) error {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return os.NewSyscallError("ioctl TIOCSPTLCK", err)
		}
		n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
		number = n
		return os.NewSyscallError("ioctl TIOCGPTN", err)
	})
	if err != nil {
		return err
	}
	t.slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	return err
}

// resize tells the kernel the size; the foreground program gets a SIGWINCH.
func (t *terminal) resize(size windowSize) error {
	return t.control(func(fd int) error {
		err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{
			Row: uint16(size.Rows), Col: uint16(size.Columns), Xpixel: uint16(size.Width), Ypixel: uint16(size.Height),
		})
		return os.NewSyscallError("ioctl TIOCSWINSZ", err)
	})
}

// control calls fn with the master's descriptor, which stays in the poller.
func (t *terminal) control(fn func(fd int) error) error {
	raw, err := t.master.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	if err := raw.Control(func(fd uintptr) { ferr = fn(int(fd)) }); err != nil {
		return err
	}
	return ferr
}

// plumb gives the slave to the program, once.
func (t *terminal) plumb(ch ssh.Channel) (*plumbing, error) {
	if t.slave == nil {
		return nil, os.ErrClosed
	}
	p := &plumbing{child: [3]*os.File{t.slave, t.slave, t.slave}, output: []stream{{t.master, ch}}}
	t.slave = nil
	return p, nil
}

// feed carries the client's keys to the terminal. At their end the program
// gets an EOT, which a shell takes for the end; two if a line is unfinished,
// since the first only ends the line.
func (t *terminal) feed(from io.Reader) {
	last := lastByte{b: '\n'}
	if _, err := io.Copy(t.master, io.TeeReader(from, &last)); err != nil {
		return
	}
	end := []byte{eot}
	if last.b != '\n' && last.b != '\r' {
		end = append(end, eot)
	}
	_, _ = t.master.Write(end) // EIO: the program is gone
}

// A lastByte remembers the last byte written to it.
type lastByte struct{ b byte }

func (l *lastByte) Write(p []byte) (int, error) {
	if len(p) > 0 {
		l.b = p[len(p)-1]
	}
	return len(p), nil
}

// finish waits for the rest of the output after the program's exit. It ends by
// itself (EIO) as soon as nobody has the terminal open.
func (t *terminal) finish(copying *sync.WaitGroup) {
	hung := time.AfterFunc(hungTerminal, func() { _ = t.master.SetReadDeadline(time.Unix(1, 0)) })
	defer hung.Stop()
	copying.Wait()
}

// close may be called twice.
func (t *terminal) close() {
	_ = t.master.Close()
	if t.slave != nil {
		_ = t.slave.Close()
		t.slave = nil
	}
}
