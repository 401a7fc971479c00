package guest

import (
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// maxExit is the highest exit code that a process of this host can have. A
// guest may tell a higher one: passed on as it is, 256 would become success. It
// also stands for a signal that has no number here.
const maxExit = 255

// exitState is what a channel has told about its program's end.
type exitState struct {
	told   bool
	status int
}

// listen takes the channel's requests until it is closed.
func (e *exitState) listen(requests <-chan *ssh.Request) {
	for req := range requests {
		e.take(req.Type, req.Payload)
		if req.WantReply {
			_ = req.Reply(false, nil)
		}
	}
}

// take takes one request; others than the two about an exit tell nothing.
func (e *exitState) take(kind string, payload []byte) {
	switch kind {
	case "exit-status":
		var m struct{ Status uint32 }
		if ssh.Unmarshal(payload, &m) == nil {
			e.told, e.status = true, int(min(m.Status, maxExit))
		}
	case "exit-signal":
		var m struct {
			Name     string
			Core     bool
			Message  string
			Language string
		}
		if ssh.Unmarshal(payload, &m) == nil {
			e.told, e.status = true, signalCode(m.Name)
		}
	}
}

// code returns the exit code, or [ErrGone] if the channel closed without one.
func (e *exitState) code() (int, error) {
	if !e.told {
		return 0, ErrGone
	}
	return e.status, nil
}

// signalCode is 128 plus the number of the signal, which comes as in "TERM", or
// as "NUMBER@…" for one without a name in RFC 4254.
func signalCode(name string) int {
	if n := unix.SignalNum("SIG" + name); n != 0 {
		return 128 + int(n)
	}
	number, _, ok := strings.Cut(name, "@")
	if n, err := strconv.ParseUint(number, 10, 6); ok && err == nil {
		return 128 + int(n)
	}
	return maxExit
}
