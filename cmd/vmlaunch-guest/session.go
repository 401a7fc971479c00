package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/internal/agentconfig"
)

// hangUpGrace is what a session's process gets between SIGHUP and SIGKILL when
// its client is gone.
const hangUpGrace = 2 * time.Second

// maxEnv bounds the variables that one session may set.
const maxEnv = 1024

// Exit codes of the agent's own, as shells use them.
const (
	exitNotStarted = 126
	exitNotFound   = 127
)

// A session is one SSH session channel: some settings, then one program, then
// its exit. See RFC 4254, section 6.
type session struct {
	srv  *server
	ch   ssh.Channel
	env  []string
	term *terminal // nil without pty-req

	child *child         // nil until started
	ended sync.WaitGroup // the goroutine that watches child
}

func (s *server) newSession(ch ssh.Channel) *session { return &session{srv: s, ch: ch} }

// serve handles requests until the channel is closed, by whichever side. A
// program that still runs then has lost its client and is hung up.
func (s *session) serve(requests <-chan *ssh.Request) {
	for req := range requests {
		ok := s.handle(req)
		if req.WantReply {
			_ = req.Reply(ok, nil) // a client that is gone closes requests, too
		}
	}
	if s.child != nil {
		s.child.hangUp()
		kill := time.AfterFunc(hangUpGrace, func() { s.child.signal(unix.SIGKILL) })
		<-s.child.done
		kill.Stop()
	}
	s.ended.Wait()
	if s.term != nil {
		s.term.close()
	}
	_ = s.ch.Close() // a session that never started anything
}

// handle carries out one request and reports whether it was granted.
func (s *session) handle(req *ssh.Request) bool {
	switch req.Type {
	case "env":
		var m struct{ Name, Value string }
		return ssh.Unmarshal(req.Payload, &m) == nil && s.child == nil && s.setEnv(m.Name, m.Value)
	case "pty-req":
		return s.child == nil && s.term == nil && s.openTerminal(req.Payload)
	case "window-change":
		var size windowSize
		return ssh.Unmarshal(req.Payload, &size) == nil && s.term != nil && s.term.resize(size) == nil
	case "signal":
		var m struct{ Name string }
		return ssh.Unmarshal(req.Payload, &m) == nil && s.signal(m.Name)
	case "exec":
		var m struct{ Command string }
		if ssh.Unmarshal(req.Payload, &m) != nil || s.child != nil {
			return false
		}
		return s.exec(req, m.Command)
	case "shell":
		return s.child == nil && s.srv.shell != "" && s.start(req, []string{"-sh"})
	case "subsystem":
		var m struct{ Name string }
		return ssh.Unmarshal(req.Payload, &m) == nil && s.child == nil && s.subsystem(req, m.Name)
	}
	return false
}

// setEnv keeps a variable for the program; the last value counts.
func (s *session) setEnv(name, value string) bool {
	if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00") || len(s.env) >= maxEnv {
		return false
	}
	s.env = append(s.env, name+"="+value)
	return true
}

// signal sends a signal, named as in "TERM", to the program's process group.
func (s *session) signal(name string) bool {
	sig := unix.SignalNum("SIG" + name)
	if sig == 0 || s.child == nil {
		return false
	}
	s.child.signal(sig)
	return true
}

// exec runs a command line: the agent's own commands itself, others by the
// shell, or, where there is none, words without meaning to a shell directly.
func (s *session) exec(req *ssh.Request, line string) bool {
	if e := ownCommand(line); e != 0 {
		return s.finish(req, e)
	}
	if s.srv.shell != "" {
		return s.start(req, []string{"sh", "-c", line})
	}
	return s.startWords(req, line)
}

// ownCommand tells whether a line is one of the agent's own commands, quoted or
// not.
func ownCommand(line string) ending {
	argv, err := words(line)
	if err != nil {
		return 0
	}
	switch strings.Join(argv, " ") {
	case agentconfig.CommandPowerOff:
		return powerOff
	case agentconfig.CommandReboot:
		return reboot
	}
	return 0
}

// finish ends the session with success, and then the machine.
func (s *session) finish(req *ssh.Request, e ending) bool {
	s.grant(req)
	s.exit(0)
	s.srv.end(e)
	return true
}

// fail ends a session whose program could not be started.
func (s *session) fail(req *ssh.Request, code uint32, cause error) bool {
	s.grant(req)
	fmt.Fprintf(s.ch.Stderr(), "vmlaunch-guest: %v\r\n", cause)
	s.exit(code)
	return true
}

// grant answers req now, before anything the program says.
func (s *session) grant(req *ssh.Request) {
	if req.WantReply {
		_ = req.Reply(true, nil)
		req.WantReply = false
	}
}

// exit tells the exit code and closes the channel.
func (s *session) exit(code uint32) {
	_, _ = s.ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{code}))
	s.closeChannel()
}

// exitSignal tells the signal that the program died of and closes the channel.
func (s *session) exitSignal(status unix.WaitStatus) {
	name := strings.TrimPrefix(unix.SignalName(status.Signal()), "SIG")
	if name == "" {
		name = fmt.Sprintf("%d@vmlaunch", status.Signal()) // a real-time one; RFC 4254 wants such a form
	}
	_, _ = s.ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
		Name              string
		Core              bool
		Message, Language string
	}{Name: name, Core: status.CoreDump()}))
	s.closeChannel()
}

func (s *session) closeChannel() {
	_ = s.ch.CloseWrite() // a client that is gone needs neither
	_ = s.ch.Close()
}

// environ is what a program finds: the usual, then what the client set.
func (s *session) environ() []string {
	set := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + home(), "USER=root", "LOGNAME=root", "SHELL=/bin/sh",
	}
	if s.term != nil && s.term.name != "" {
		set = append(set, "TERM="+s.term.name)
	}
	last := make(map[string]int) // name → index in env
	var env []string
	for _, kv := range append(set, s.env...) {
		name, _, _ := strings.Cut(kv, "=")
		if i, ok := last[name]; ok {
			env[i] = kv
			continue
		}
		last[name] = len(env)
		env = append(env, kv)
	}
	return env
}

// home is root's home directory, where programs start.
func home() string {
	if info, err := os.Stat("/root"); err == nil && info.IsDir() {
		return "/root"
	}
	return "/"
}
