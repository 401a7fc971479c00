package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// hungTerminal is how long a terminal may stay open after its program's exit.
// The kernel closes it with the session's leader, unless that had let go of it.
const hungTerminal = time.Second

// A plumbing connects one program with its channel.
type plumbing struct {
	child  [3]*os.File // the program's standard streams; closed once it runs
	stdin  *os.File    // where the client's data goes
	output []stream
}

// A stream is one direction of output.
type stream struct {
	from *os.File
	to   io.Writer
}

// start runs the shell with argv and lets a goroutine watch it. It answers the
// request itself; false means that it was not granted.
func (s *session) start(req *ssh.Request, argv []string) bool {
	return s.startProgram(req, s.srv.shell, argv)
}

func (s *session) startProgram(req *ssh.Request, path string, argv []string) bool {
	p, err := s.plumb()
	if err != nil {
		return s.fail(req, exitNotStarted, err)
	}
	attr := &syscall.ProcAttr{Dir: home(), Env: s.environ(), Sys: &syscall.SysProcAttr{Setctty: s.term != nil}}
	for _, f := range p.child {
		attr.Files = append(attr.Files, f.Fd()) // makes it blocking, as programs expect
	}
	child, err := s.srv.children.start(path, argv, attr)
	p.closeChild()
	if err != nil {
		p.close()
		code := uint32(exitNotStarted)
		if errors.Is(err, fs.ErrNotExist) {
			code = exitNotFound
		}
		return s.fail(req, code, err)
	}
	s.grant(req)
	s.child = child
	s.ended.Go(func() { s.watch(p) })
	return true
}

// watch carries the program's streams, and tells its end when it has ended and
// all that it wrote is on its way. What a process that it left behind writes
// after that is lost: a session does not wait for a daemon.
func (s *session) watch(p *plumbing) {
	var in, out sync.WaitGroup
	in.Go(func() { s.feed(p.stdin) })
	for _, o := range p.output {
		out.Go(func() { _, _ = io.Copy(o.to, o.from) }) // ends at EOF, at the deadline, or with the channel
	}
	<-s.child.done
	if s.term != nil {
		s.term.finish(&out)
	} else {
		p.drain(&out)
	}
	if status := s.child.status; status.Signaled() {
		s.exitSignal(status)
	} else {
		s.exit(uint32(status.ExitStatus()))
	}
	p.close() // with the channel closed, it ends the feeding, too
	in.Wait()
}

// plumb makes the streams: three pipes, or the terminal.
func (s *session) plumb() (*plumbing, error) {
	if s.term != nil {
		return s.term.plumb(s.ch)
	}
	p := &plumbing{}
	var err error
	if p.child[0], p.stdin, err = os.Pipe(); err != nil {
		return nil, err
	}
	for i, to := range []io.Writer{s.ch, s.ch.Stderr()} {
		from, child, err := os.Pipe()
		if err != nil {
			p.closeChild()
			p.close()
			return nil, err
		}
		p.child[i+1] = child
		p.output = append(p.output, stream{from, to})
	}
	return p, nil
}

// drain ends the copying after the program's exit. The pipes hold what it has
// written before, and perhaps a process is left that could write for ever:
// what is in them now is what counts.
func (p *plumbing) drain(copying *sync.WaitGroup) {
	for _, o := range p.output {
		_ = o.from.SetReadDeadline(time.Unix(1, 0)) // pipes have deadlines
	}
	copying.Wait()
	for _, o := range p.output {
		_ = o.from.SetReadDeadline(time.Time{})
		_, _ = io.CopyN(o.to, o.from, int64(pending(o.from))) // the channel may be gone
	}
}

// pending returns how many bytes can be read from f at once.
func pending(f *os.File) (n int) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }) // 0 if it fails: no data
	return n
}

// feed carries the client's data to the program, and its end.
func (s *session) feed(stdin *os.File) {
	if s.term != nil {
		s.term.feed(s.ch)
		return
	}
	_, _ = io.Copy(stdin, s.ch) // ends at EOF, or with either side
	_ = stdin.Close()
}

// closeChild closes the program's ends.
func (p *plumbing) closeChild() {
	for _, f := range p.child {
		if f != nil {
			_ = f.Close()
		}
	}
}

// close closes the agent's ends, which may be closed already.
func (p *plumbing) close() {
	if p.stdin != nil {
		_ = p.stdin.Close()
	}
	for _, o := range p.output {
		_ = o.from.Close()
	}
}
