package qmp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
)

const (
	// maxLine bounds one message, in bytes. The largest reply known,
	// query-qmp-schema of QEMU 11.1, has 248 KB; QEMU itself refuses to read
	// a token of more than 64 MiB (MAX_TOKEN_SIZE in its qobject/json-streamer.c).
	maxLine = 64 << 20

	// maxEvent bounds one event, in bytes: [EventBuffer] of them are kept. The
	// largest ones (GUEST_PANICKED, MEM_UNPLUG_ERROR) stay under 1 KiB.
	maxEvent = 64 << 10
)

// request is a command as it goes over the wire.
type request struct {
	Execute   string `json:"execute"`
	Arguments any    `json:"arguments,omitempty"`
	ID        uint64 `json:"id"`
}

// A message is one line from QEMU: a greeting, an event, or a reply, which has
// an id and either answer or err.
type message struct {
	greeting *Greeting
	event    *Event
	id       uint64 // 0 in a reply that names none of ours
	answer   json.RawMessage
	err      *Error
}

func (m message) result() (json.RawMessage, error) {
	if m.err != nil {
		return nil, m.err
	}
	return m.answer, nil
}

// decode reads one line from QEMU. It keeps nothing of line. It fails with a
// [*ProtocolError] for anything that is not exactly one QMP message.
func decode(line []byte) (message, error) {
	var w struct {
		Event
		QMP    *Greeting       `json:"QMP"`
		ID     json.RawMessage `json:"id"`
		Return json.RawMessage `json:"return"`
		Error  *Error          `json:"error"`
	}
	fail := func(reason string) (message, error) {
		return message{}, &ProtocolError{Line: clip(line), Reason: reason}
	}
	if err := json.Unmarshal(line, &w); err != nil {
		return fail(err.Error())
	}
	isEvent := w.Event.Event != ""
	if n := count(w.QMP != nil, isEvent, w.Return != nil, w.Error != nil); n != 1 {
		return fail("want one of QMP, event, return and error, got " + strconv.Itoa(n))
	}
	switch {
	case w.QMP != nil:
		return message{greeting: w.QMP}, nil
	case isEvent && len(line) > maxEvent:
		return fail("an event of " + strconv.Itoa(len(line)) + " bytes, limit " + strconv.Itoa(maxEvent))
	case isEvent:
		return message{event: &w.Event}, nil
	}
	id, err := strconv.ParseUint(string(w.ID), 10, 64)
	if err != nil {
		// Without an id it is QEMU's complaint about JSON it can't parse.
		return fail("a reply whose id is not ours")
	}
	return message{id: id, answer: w.Return, err: w.Error}, nil
}

func count(facts ...bool) (n int) {
	for _, f := range facts {
		if f {
			n++
		}
	}
	return n
}

// readLine returns the next line that is not blank, without its end; it is good
// until the next call. It fails with [ErrGone] and the cause when r ends, also
// in the middle of a line, and with a [*ProtocolError] for a line over maxLine.
func readLine(r *bufio.Reader) ([]byte, error) {
	var long []byte // what did not fit r's buffer
	for {
		part, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			if long = append(long, part...); len(long) > maxLine {
				return nil, &ProtocolError{Line: clip(long), Reason: "over " + strconv.Itoa(maxLine) + " bytes"}
			}
			continue
		}
		if errors.Is(err, io.EOF) && len(long)+len(part) > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, gone(err)
		}
		if long != nil {
			part = append(long, part...)
		}
		if line := bytes.TrimSpace(part); len(line) > 0 {
			return line, nil
		}
		long = nil
	}
}

// clip returns the beginning of line, enough to recognize it.
func clip(line []byte) string {
	const enough = 100
	if len(line) > enough {
		return string(line[:enough]) + "…"
	}
	return string(line)
}
