package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// probeGreeting and listenGreeting are what those begin with that can be
// reached, before their name.
const (
	probeGreeting  = "vmlaunch-probe 1 name="
	listenGreeting = "vmlaunch-listener "
)

// An address is where a dial leads, and whether who is there greets.
type address struct {
	cid    vsock.CID
	port   uint32
	greets bool
}

// target finds out where a dial of s leads.
func (st *stage) target(ctx context.Context, s configs.Step) (address, error) {
	a := address{cid: vsock.CID(s.CID), port: s.Port}
	if s.To == "" {
		a.port = orPort(a.port, guest.ProbeControl)
		a.greets = a.port == guest.ProbeControl
		return a, nil
	}
	if l, ok := st.get(s.To).(*listener); ok {
		_, fromMachine := st.machine(s.From)
		if a.cid == 0 && fromMachine {
			a.cid = vsock.Host
		} else if a.cid == 0 {
			a.cid = vsock.Loopback
		}
		a.port, a.greets = orPort(a.port, l.Port()), true
		return a, nil
	}
	m, ok := st.machine(s.To)
	if !ok {
		return a, fmt.Errorf("dial %s: nothing listens under that name any more", s.To)
	}
	var err error
	if a.cid == 0 {
		a.cid, err = st.cidOf(ctx, m)
	}
	a.greets = a.port == 0 && m.Guest() == configs.GuestProbe
	a.port = orPort(a.port, answerPort(m))
	return a, err
}

func orPort(port, other uint32) uint32 {
	if port == 0 {
		return other
	}
	return port
}

// dial connects, from a namespace or from a machine.
func (st *stage) dial(ctx context.Context, s configs.Step) seen {
	a, err := st.target(ctx, s)
	if err != nil {
		return seen{err: err}
	}
	if m, ok := st.machine(s.From); ok {
		return st.dialFromProbe(ctx, m, a, s.Text)
	}
	ns, err := st.enter(s.From)
	if err != nil {
		return seen{err: err}
	}
	defer ns.Close()
	c, err := connect(ctx, ns, a)
	if err != nil {
		return seen{err: err}
	}
	got := st.converse(ctx, c, a, s.Text)
	if s.As != "" && got.err == nil {
		st.keep(s.As, c)
		return got
	}
	got.err = errors.Join(got.err, c.Close())
	return got
}

// connect dials from inside ns. The caller closes the connection.
func connect(ctx context.Context, ns *netns.NS, a address) (c conn, err error) {
	err = ns.Do(func() error {
		raw, err := vsock.Dial(ctx, a.cid, a.port)
		if err != nil {
			return err
		}
		c = raw
		return nil
	})
	return c, err
}

// converse takes the greeting where there is one, and sends text where there is
// some.
func (st *stage) converse(ctx context.Context, c conn, a address, text string) seen {
	var got seen
	if a.greets {
		line, err := readLine(ctx, c)
		if err != nil {
			return seen{err: fmt.Errorf("read the greeting: %w", err)}
		}
		got.reached, got.note = st.whoGreets(line), line
	}
	if text == "" {
		return got
	}
	return st.exchange(ctx, c, text, got)
}

// exchange sends a line and reads one.
func (st *stage) exchange(ctx context.Context, c conn, text string, got seen) seen {
	if _, err := io.WriteString(c, text+"\n"); err != nil {
		return seen{err: err}
	}
	got.answer, got.err = readLine(ctx, c)
	return got
}

// whoGreets returns the name in the lab of who sent a greeting.
func (st *stage) whoGreets(line string) string {
	if name, ok := strings.CutPrefix(line, probeGreeting); ok {
		name, _, _ = strings.Cut(name, " ")
		return st.service(name)
	}
	return strings.TrimPrefix(line, listenGreeting)
}

// dialFromProbe has a probe guest connect. It reads a line if there is one.
func (st *stage) dialFromProbe(ctx context.Context, m configs.LabMachine, a address, text string) seen {
	if m.Guest() != configs.GuestProbe {
		return seen{err: fmt.Errorf("dial from %s: %w: only a probe dials where it is told to", m.Service, errors.ErrUnsupported)}
	}
	answer, err := st.ask(ctx, m, strings.TrimSpace(fmt.Sprintf("DIAL %d %d %s", a.cid, a.port, text)))
	if err != nil {
		return seen{err: err}
	}
	_, read, _ := strings.Cut(answer, " text=")
	read = strings.TrimSuffix(read, `\n`)
	got := seen{answer: read, note: answer}
	if strings.HasPrefix(read, probeGreeting) || strings.HasPrefix(read, listenGreeting) {
		got.reached = st.whoGreets(read)
	}
	return got
}

// say sends text on a connection that was kept, and reads a line.
func (st *stage) say(ctx context.Context, s configs.Step) seen {
	c, ok := st.get(s.On).(conn)
	if !ok {
		return seen{err: fmt.Errorf("say on %s: it was never opened", s.On)}
	}
	got := st.exchange(ctx, c, s.Text, seen{})
	if s.Expect.Closed && got.err != nil {
		return seen{closed: true, note: describe(got.err)}
	}
	return got
}
