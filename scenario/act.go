package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/launcher"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// act does a step and returns what was seen.
func (st *stage) act(ctx context.Context, s configs.Step) seen {
	switch s.Verb {
	case configs.StepUp:
		return seen{err: st.up(ctx, s.Machines)}
	case configs.StepStart, configs.StepStop, configs.StepKill, configs.StepRemove, configs.StepWait:
		return seen{err: st.verb(ctx, s)}
	}
	ctx, cancel := context.WithTimeout(ctx, stepWait)
	defer cancel()
	switch s.Verb {
	case configs.StepDial:
		return st.dial(ctx, s)
	case configs.StepSay:
		return st.say(ctx, s)
	case configs.StepListen:
		return st.listen(s)
	case configs.StepClaim:
		return st.claim(s)
	case configs.StepClose:
		if c := st.get(s.On); c != nil {
			return seen{err: c.Close()}
		}
		return seen{err: fmt.Errorf("close %s: it was never opened", s.On)}
	case configs.StepMode:
		return st.mode(s)
	case configs.StepChildMode:
		return st.childMode(s)
	case configs.StepUnpin:
		return st.unpin(s)
	case configs.StepLoad:
		return st.load(ctx, s)
	case configs.StepExec:
		return st.exec(ctx, s)
	}
	return seen{err: fmt.Errorf("step %q: %w", s.Verb, errors.ErrUnsupported)}
}

// verb does a verb of the launcher to each of the machines.
func (st *stage) verb(ctx context.Context, s configs.Step) error {
	verbs := map[string]func(name string) error{
		configs.StepStart:  func(name string) error { _, err := st.l.Start(ctx, name); return err },
		configs.StepStop:   func(name string) error { return st.l.Stop(ctx, name, stepWait) },
		configs.StepKill:   func(name string) error { return st.l.Kill(ctx, name) },
		configs.StepRemove: func(name string) error { return st.l.Remove(ctx, name, true) },
		configs.StepWait:   func(name string) error { return st.l.Wait(ctx, name, launcher.ForReady) },
	}
	var errs []error
	for _, name := range s.Machines {
		m, _ := st.machine(name) // it is there: the file was checked
		errs = append(errs, verbs[s.Verb](m.Name))
	}
	return errors.Join(errs...)
}

func (st *stage) mode(s configs.Step) seen {
	ns, err := st.enter(s.In)
	if err != nil {
		return seen{err: err}
	}
	defer ns.Close()
	m, err := ns.Mode()
	return seen{err: err, mode: m.String()}
}

func (st *stage) childMode(s configs.Step) seen {
	ns, err := st.enter(s.In)
	if err != nil {
		return seen{err: err}
	}
	defer ns.Close()
	m, err := vsock.ParseMode(s.Mode)
	if err != nil {
		return seen{err: err}
	}
	return seen{err: ns.Do(func() error { return vsock.SetChildMode(m) })}
}

// unpin takes the name off a namespace of the lab, whoever lives in it.
func (st *stage) unpin(s configs.Step) seen {
	for _, ns := range st.lab.Namespaces {
		if ns.Name == s.In && !ns.Adopt {
			return seen{err: netns.Remove(ns.Netns)}
		}
	}
	return seen{err: fmt.Errorf("namespace %q: is not the lab's to delete", s.In)}
}

// claim takes a CID with a descriptor of this process, as any program could.
func (st *stage) claim(s configs.Step) seen {
	ns, err := st.enter(s.In)
	if err != nil {
		return seen{err: err}
	}
	defer ns.Close()
	var g *vsock.Guard
	err = ns.Do(func() (err error) {
		g, err = vsock.Hold(vsock.CID(s.CID))
		return err
	})
	if err != nil {
		return seen{err: err}
	}
	st.keep(s.As, g)
	return seen{}
}

// exec runs a command in a Linux guest, or asks a probe.
func (st *stage) exec(ctx context.Context, s configs.Step) seen {
	m, _ := st.machine(s.On)
	if m.Guest() == configs.GuestProbe {
		answer, err := st.ask(ctx, m, strings.Join(s.Command, " "))
		return seen{err: err, answer: answer}
	}
	c, err := st.l.Client(ctx, m.Name)
	if err != nil {
		return seen{err: err}
	}
	defer c.Close()
	var out, errs strings.Builder
	exit, err := c.Run(ctx, guest.Command{Args: s.Command, Stdout: &out, Stderr: &errs})
	return seen{err: err, exit: &exit, answer: strings.TrimSpace(out.String()), note: strings.TrimSpace(errs.String())}
}

// ask sends a probe one line.
func (st *stage) ask(ctx context.Context, m configs.LabMachine, line string) (string, error) {
	p, err := st.l.Probe(ctx, m.Name)
	if err != nil {
		return "", err
	}
	defer p.Close()
	return p.Do(ctx, line)
}

// readLine reads one line from a connection, byte by byte so that nothing of the
// next one is taken. It fails with [io.EOF] if there is none.
func readLine(ctx context.Context, c conn) (string, error) {
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return "", err
	}
	var line []byte
	for b := make([]byte, 1); len(line) < maxLine; {
		n, err := c.Read(b)
		if n == 1 && b[0] == '\n' {
			break
		}
		line = append(line, b[:n]...)
		if err != nil {
			return string(line), err
		}
	}
	return strings.TrimRight(string(line), "\r"), nil
}

// maxLine bounds what is read as a line: a probe's are at most 1022 characters.
const maxLine = 4096

// A conn is what connections of vsock and of tests have in common.
type conn interface {
	io.ReadWriteCloser
	SetDeadline(time.Time) error
}
