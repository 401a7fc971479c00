package fakeqemu

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// A monitor is one QMP socket. It serves one client after the other.
type monitor struct {
	machine  *machine
	listener *net.UnixListener

	mu         sync.Mutex
	client     *outbox // nil for none
	negotiated bool    // the client has sent qmp_capabilities
}

// command is what a client says.
type command struct {
	Execute   string          `json:"execute"`
	Arguments json.RawMessage `json:"arguments"`
	ID        json.RawMessage `json:"id"`
}

// A refusal is a reply that is an error.
type refusal struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

func (mon *monitor) serve() {
	for {
		conn, err := mon.listener.AcceptUnix()
		if err != nil {
			return // the machine is leaving
		}
		piece := 0
		if mon.machine.behaviour.Split {
			piece = 5
		}
		mon.attach(newOutbox(conn, piece))
		if !mon.machine.behaviour.Mute {
			mon.say(map[string]any{"QMP": map[string]any{"version": versionInfo(), "capabilities": []string{"oob"}}})
		}
		mon.converse(conn)
		mon.attach(nil)
	}
}

func (mon *monitor) attach(client *outbox) {
	mon.mu.Lock()
	defer mon.mu.Unlock()
	if mon.client != nil {
		mon.client.close()
	}
	mon.client, mon.negotiated = client, false
}

// converse reads commands until the client is gone. Commands need nothing
// between them. After something that is not JSON it goes on with the next line.
func (mon *monitor) converse(conn io.Reader) {
	dec := json.NewDecoder(conn)
	for {
		var c command
		err := dec.Decode(&c)
		var syntax *json.SyntaxError
		var mismatch *json.UnmarshalTypeError
		switch {
		case errors.As(err, &syntax):
			mon.refuse(nil, &refusal{"GenericError", "JSON parse error, " + err.Error()})
			rest := bufio.NewReader(io.MultiReader(dec.Buffered(), conn))
			rest.ReadString('\n')
			dec = json.NewDecoder(rest)
		case errors.As(err, &mismatch):
			mon.refuse(c.ID, &refusal{"GenericError", "QMP input must be a JSON object"})
		case err != nil:
			return
		case mon.machine.behaviour.Mute:
		case !mon.obey(c):
			return
		}
	}
}

// obey runs c and reports whether the conversation goes on.
func (mon *monitor) obey(c command) bool {
	m := mon.machine
	m.mu.Lock()
	defer m.mu.Unlock()
	switch c.Execute {
	case "":
		mon.refuse(c.ID, &refusal{"GenericError", "QMP input lacks member 'execute'"})
		return true
	case m.behaviour.HangOn:
		select {} // with mu held: the whole QEMU hangs
	case m.behaviour.DieOn:
		die()
	case m.behaviour.LeaveOn:
		return false
	case m.behaviour.GarbageOn:
		mon.write([]byte(m.behaviour.Garbage + "\r\n"))
		return true
	}
	answer, then, r := mon.answer(c)
	if c.Execute == m.behaviour.RefuseOn {
		r = &refusal{"GenericError", c.Execute + " was refused"}
	}
	if r != nil {
		mon.refuse(c.ID, r)
		return true
	}
	if padded, ok := answer.(map[string]any); ok && c.Execute == m.behaviour.PadOn {
		padded["padding"] = strings.Repeat("x", 1<<20)
	}
	mon.reply(c, answer)
	if c.Execute == m.behaviour.TwiceOn {
		mon.reply(c, answer)
	}
	if then != nil {
		then()
	}
	return true
}

// answer negotiates, or leaves the command to the machine.
func (mon *monitor) answer(c command) (answer any, then func(), r *refusal) {
	mon.mu.Lock()
	negotiated := mon.negotiated
	mon.mu.Unlock()
	switch negotiates := c.Execute == "qmp_capabilities"; {
	case negotiates && negotiated:
		return nil, nil, &refusal{"CommandNotFound", "Capabilities negotiation is already complete, command ignored"}
	case !negotiates && !negotiated:
		return nil, nil, &refusal{"CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'"}
	case negotiates:
		return nothing(), nil, nil
	}
	return mon.machine.command(c)
}

func (mon *monitor) reply(c command, answer any) {
	line := encode(reply{Return: answer, ID: c.ID})
	mon.mu.Lock()
	defer mon.mu.Unlock()
	if c.Execute == "qmp_capabilities" {
		mon.negotiated = true
		if mon.machine.behaviour.Glue {
			line = append(line, encode(event("RESUME", nil))...)
		}
	}
	if mon.client != nil {
		mon.client.add(line)
	}
}

func (mon *monitor) refuse(id json.RawMessage, r *refusal) { mon.say(reply{Error: r, ID: id}) }

// event tells an event to the client, if one has negotiated.
func (mon *monitor) event(name string, data map[string]any) {
	mon.mu.Lock()
	defer mon.mu.Unlock()
	if mon.client != nil && mon.negotiated {
		mon.client.add(encode(event(name, data)))
	}
}

func (mon *monitor) say(v any) { mon.write(encode(v)) }

func (mon *monitor) write(b []byte) {
	mon.mu.Lock()
	defer mon.mu.Unlock()
	if mon.client != nil {
		mon.client.add(b)
	}
}

func (mon *monitor) leave() {
	mon.listener.Close()
	mon.mu.Lock()
	defer mon.mu.Unlock()
	if mon.client != nil {
		mon.client.flush()
	}
}

// reply is what QEMU answers.
type reply struct {
	Return any             `json:"return,omitempty"`
	Error  *refusal        `json:"error,omitempty"`
	ID     json.RawMessage `json:"id,omitempty"`
}

func event(name string, data map[string]any) map[string]any {
	now := time.Now()
	e := map[string]any{"event": name, "timestamp": map[string]int64{
		"seconds": now.Unix(), "microseconds": int64(now.Nanosecond() / 1000),
	}}
	if data != nil {
		e["data"] = data
	}
	return e
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // all that is said here encodes
	}
	return append(b, "\r\n"...)
}
