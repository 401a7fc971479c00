package guest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// Ports of the probe guest, see image/probe/PROTOCOL.md.
const (
	ProbeEcho    uint32 = 7
	ProbeDiscard uint32 = 9
	ProbeChargen uint32 = 19
	ProbeControl uint32 = 1234
)

// probeGreeting is how every control connection begins.
const probeGreeting = "vmlaunch-probe 1"

// probeLineMax bounds what is read as one line, in bytes: the guest's own bound
// for an answer is 1024.
const probeLineMax = 4096

// A Probe is a control connection into a probe guest. It is a conversation: not
// safe for concurrent use. Open several to ask several things at once.
type Probe struct {
	conn  net.Conn
	lines *bufio.Reader
	hello Hello
}

// Hello is what a probe guest says about itself and about who asks.
type Hello struct {
	Name  string
	CID   vsock.CID  // as its device tells it
	Token string     // as its launcher gave it
	Peer  vsock.Addr // this side of the connection, as the guest sees it
}

// An AnswerError is a probe guest's refusal of a command. It unwraps to the
// errno if the guest named one: what a Linux guest would have got.
type AnswerError struct {
	Command string // its first word
	Answer  string // "ERR ECONNRESET"
	Errno   unix.Errno
}

func (e *AnswerError) Error() string {
	return fmt.Sprintf("probe command %s: %s", e.Command, strings.TrimPrefix(e.Answer, "ERR "))
}

// Unwrap returns the errno, or nil if the guest named none.
func (e *AnswerError) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

// DialProbe connects to the control port of the probe guest with cid, from
// inside ns, and takes its greeting. The caller closes the probe.
//
// It fails with [ErrIdentity] if who answers does not greet as a probe with that
// CID and token, as [vsock.Dial] does, and with ctx's error.
func DialProbe(ctx context.Context, ns *netns.NS, cid vsock.CID, token string) (*Probe, error) {
	conn, err := dial(ctx, ns, cid, ProbeControl)
	if err != nil {
		return nil, err
	}
	p, err := newProbe(ctx, conn, cid, token)
	if err != nil {
		return nil, fmt.Errorf("vsock %d:%d: %w", cid, ProbeControl, err)
	}
	return p, nil
}

// newProbe takes conn over: it is closed if the greeting is not the right one.
func newProbe(ctx context.Context, conn net.Conn, cid vsock.CID, token string) (*Probe, error) {
	p := &Probe{conn: conn, lines: bufio.NewReaderSize(conn, probeLineMax)}
	err := p.greet(ctx, cid, token)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return p, nil
}

func (p *Probe) greet(ctx context.Context, cid vsock.CID, token string) error {
	line, err := p.exchange(ctx, "")
	if err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	if p.hello, err = parseGreeting(line); err != nil {
		return err
	}
	switch {
	case p.hello.CID != cid:
		return &IdentityError{Name: p.hello.Name, text: fmt.Sprintf("it has cid %d, want %d", p.hello.CID, cid)}
	case p.hello.Token != token:
		return &IdentityError{Name: p.hello.Name, text: fmt.Sprintf("it is called %q and has another token", p.hello.Name)}
	}
	return nil
}

// parseGreeting reads the first line of a control connection. Fields it does
// not know are left to later versions. It fails with [ErrIdentity].
func parseGreeting(line string) (Hello, error) {
	var h Hello
	fields, ok := strings.CutPrefix(line, probeGreeting+" ")
	if !ok {
		return h, fmt.Errorf("%w: it greets with %q, want %q", ErrIdentity, line, probeGreeting)
	}
	for field := range strings.FieldsSeq(fields) {
		name, value, _ := strings.Cut(field, "=")
		var err error
		switch name {
		case "name":
			h.Name = value
		case "token":
			h.Token = value
		case "cid":
			h.CID, err = vsock.ParseCID(value)
		case "peer":
			h.Peer, err = parsePeer(value)
		}
		if err != nil {
			return h, fmt.Errorf("%w: greeting %q: %w", ErrIdentity, line, err)
		}
	}
	return h, nil
}

// parsePeer reads CID:PORT. The CID is the host's, which no guest may have.
func parsePeer(s string) (vsock.Addr, error) {
	left, right, _ := strings.Cut(s, ":")
	cid, err := strconv.ParseUint(left, 10, 32)
	if err != nil {
		return vsock.Addr{}, fmt.Errorf("peer %q: %w", s, err)
	}
	port, err := strconv.ParseUint(right, 10, 32)
	if err != nil {
		return vsock.Addr{}, fmt.Errorf("peer %q: %w", s, err)
	}
	return vsock.Addr{CID: vsock.CID(cid), Port: uint32(port)}, nil
}

// Hello returns what the guest said in its greeting.
func (p *Probe) Hello() Hello { return p.hello }

// Do sends one command line and returns the guest's one line of answer, as it
// came but without its end: "OK …" or "ERR …".
//
// It fails with [*AnswerError] if the answer is not OK (the answer is returned
// all the same), with ctx's error, with [io.ErrUnexpectedEOF] if the guest went
// away, and for a line that is two. After any failure but the first the
// conversation is over: the connection is closed.
//
// OFF and REBOOT end the connection after their answer. Do closes it then, which
// is what the guest waits for.
func (p *Probe) Do(ctx context.Context, line string) (string, error) {
	if line == "" || strings.ContainsAny(line, "\r\n") {
		return "", fmt.Errorf("probe command %q: want one line", line)
	}
	command, _, _ := strings.Cut(line, " ")
	answer, err := p.exchange(ctx, line+"\n")
	if err != nil {
		_ = p.conn.Close()
		return "", fmt.Errorf("probe command %s: %w", command, err)
	}
	if answer != "OK" && !strings.HasPrefix(answer, "OK ") {
		return answer, &AnswerError{Command: command, Answer: answer, Errno: answerErrno(answer)}
	}
	if command == "OFF" || command == "REBOOT" {
		return answer, p.Close()
	}
	return answer, nil
}

// exchange writes out, if that is not empty, and reads one line.
func (p *Probe) exchange(ctx context.Context, out string) (string, error) {
	stop := context.AfterFunc(ctx, func() { _ = p.conn.Close() }) // ends both waits
	line, err := p.writeAndRead(out)
	if !stop() {
		return "", context.Cause(ctx)
	}
	if err != nil {
		return "", err
	}
	return line, nil
}

func (p *Probe) writeAndRead(out string) (string, error) {
	if out != "" {
		if _, err := io.WriteString(p.conn, out); err != nil {
			return "", err
		}
	}
	line, err := p.lines.ReadSlice('\n')
	switch {
	case errors.Is(err, io.EOF):
		return "", io.ErrUnexpectedEOF
	case err != nil:
		return "", fmt.Errorf("read answer: %w", err)
	}
	return strings.TrimSuffix(string(line), "\n"), nil
}

// answerErrno returns the errno that an answer names, or 0. The names are
// those of image/probe/errno.h.
func answerErrno(answer string) unix.Errno {
	name, _, _ := strings.Cut(strings.TrimPrefix(answer, "ERR "), " ")
	switch name {
	case "EPERM":
		return unix.EPERM
	case "ENOENT":
		return unix.ENOENT
	case "ENOMEM":
		return unix.ENOMEM
	case "EINVAL":
		return unix.EINVAL
	case "ENOSPC":
		return unix.ENOSPC
	case "EPROTO":
		return unix.EPROTO
	case "EADDRINUSE":
		return unix.EADDRINUSE
	case "ECONNRESET":
		return unix.ECONNRESET
	case "ETIMEDOUT":
		return unix.ETIMEDOUT
	}
	return 0
}

// Close ends the connection. Closing twice is fine.
func (p *Probe) Close() error {
	err := p.conn.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
