package qmp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmlaunch/vmlaunch/qmp"
)

const (
	hello = `{"QMP": {"version": {"qemu": {"micro": 1, "minor": 2, "major": 9}, "package": ""}, "capabilities": []}}` + "\r\n"
	halt  = `{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}` + "\r\n"
)

// A script is a peer that greets and then says, for each command it gets, what
// the command's name stands for, with %d for the command's id. It ends at a
// command that is not in it, having said what stands under "".
type script map[string]string

// play plays s at one end of a pipe and returns the other.
func (s script) play(t *testing.T) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	t.Cleanup(func() {
		ours.Close()
		<-done
	})
	go func() {
		defer close(done)
		defer theirs.Close()
		io.WriteString(theirs, s["greeting"])
		for in := bufio.NewScanner(theirs); in.Scan(); {
			var c struct {
				Execute string
				ID      uint64
			}
			if err := json.Unmarshal(in.Bytes(), &c); err != nil {
				t.Errorf("the client said %q: %v", in.Text(), err)
			}
			answer, known := s[c.Execute]
			if !known {
				answer = s[""]
			}
			io.WriteString(theirs, strings.ReplaceAll(answer, "%d", fmt.Sprint(c.ID)))
			if !known {
				return
			}
		}
	}()
	return ours
}

// open returns a client of a peer that shakes hands well and then follows s.
func (s script) open(t *testing.T) *qmp.Client {
	t.Helper()
	whole := script{"greeting": hello, "qmp_capabilities": `{"return": {}, "id": %d}` + "\r\n"}
	maps.Copy(whole, s)
	return client(t, whole.play(t))
}

// client returns a client at the other end of conn.
func client(t *testing.T, conn net.Conn) *qmp.Client {
	t.Helper()
	c, err := qmp.New(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestLinesOutOfPlaceEndTheConversation(t *testing.T) {
	for name, line := range map[string]string{
		"garbage":            "fnord",
		"a web page":         "<html>",
		"a number":           "42",
		"nothing":            "{}",
		"no id":              `{"return": {}}`,
		"a parse error":      `{"error": {"class": "GenericError", "desc": "JSON parse error"}}`,
		"an id to come":      `{"return": {}, "id": 1000}`,
		"id zero":            `{"return": {}, "id": 0}`,
		"a second greeting":  strings.TrimSpace(hello),
		"a reply in a reply": `{"return": {}, "id": %d}{"return": {}, "id": %d}`,
	} {
		t.Run(name, func(t *testing.T) {
			c := script{"query-status": line + "\r\n"}.open(t)
			var p *qmp.ProtocolError
			if s, err := c.Status(t.Context()); !errors.As(err, &p) || errors.Is(err, qmp.ErrGone) {
				t.Errorf("got %+v, %v, want a ProtocolError", s, err)
			}
			<-c.Done()
			if _, err := c.Status(t.Context()); !errors.As(err, &p) {
				t.Errorf("a later call got %v, want the same", err)
			}
		})
	}
}

func TestHandshakeRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		peer script
		want func(error) bool
	}{
		{"another protocol", script{"greeting": "SSH-2.0-OpenSSH_9.2\r\n"}, isProtocol},
		{"an event before the greeting", script{"greeting": halt}, isProtocol},
		{"a reply before the greeting", script{"greeting": `{"return": {}, "id": 1}` + "\r\n"}, isProtocol},
		{"a torn greeting", script{"greeting": hello, "": hello[:9]}, isGone},
		{"an end in place of the handshake", script{"greeting": hello}, isGone},
		{"a refused handshake", script{"greeting": hello,
			"qmp_capabilities": `{"id": %d, "error": {"class": "GenericError", "desc": "no"}}` + "\r\n"}, isRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := c.peer.play(t)
			client, err := qmp.New(t.Context(), conn)
			if err == nil {
				client.Close()
			}
			if !c.want(err) {
				t.Errorf("got %v", err)
			}
			if _, err := conn.Write(nil); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("the connection is still open: %v", err)
			}
		})
	}
}

func isProtocol(err error) bool { p := new(qmp.ProtocolError); return errors.As(err, &p) }
func isRefused(err error) bool  { p := new(qmp.Error); return errors.As(err, &p) }
func isGone(err error) bool     { return errors.Is(err, qmp.ErrGone) }

func TestEmptyDescriptionIsAnError(t *testing.T) {
	c := script{"cont": `{"id": %d, "error": {"class": "GenericError", "desc": ""}}` + "\r\n"}.open(t)
	var refused *qmp.Error
	if err := c.Cont(t.Context()); !errors.As(err, &refused) || refused.Class != qmp.GenericError {
		t.Errorf("got %v, want a GenericError", err)
	}
}

func TestSecondReplyIsDropped(t *testing.T) {
	c := script{
		"cont":         `{"return": {}, "id": %d}` + "\r\n" + `{"return": {"status": "wrong"}, "id": %d}` + "\r\n",
		"query-status": `{"return": {"running": true, "status": "running"}, "id": %d}` + "\r\n",
	}.open(t)
	for range 3 {
		if err := c.Cont(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s, err := c.Status(t.Context()); err != nil || s.Status != "running" {
			t.Errorf("got %+v, %v, want running", s, err)
		}
	}
}

// A slowWriter does something more before it returns from a write.
type slowWriter struct {
	net.Conn
	more func()
}

func (w *slowWriter) Write(b []byte) (int, error) {
	n, err := w.Conn.Write(b)
	w.more()
	return n, err
}

// TestReplyBeforeTheEnd lets the peer reply and go before the caller is back
// from its write: a reply that came counts, whatever the caller looks at first.
func TestReplyBeforeTheEnd(t *testing.T) {
	for range 20 {
		conn := &slowWriter{more: func() {}, Conn: script{
			"greeting":         hello,
			"qmp_capabilities": `{"return": {}, "id": %d}` + "\r\n",
			"":                 `{"return": {"status": "shutdown"}, "id": %d}` + "\r\n",
		}.play(t)}
		c := client(t, conn)
		conn.more = func() { <-c.Done() }
		if s, err := c.Status(t.Context()); err != nil || s.Status != "shutdown" {
			t.Fatalf("got %+v, %v, want shutdown", s, err)
		}
	}
}

func TestAnswerOfAnotherShape(t *testing.T) {
	c := script{"query-status": `{"return": ["running"], "id": %d}` + "\r\n"}.open(t)
	var shape *json.UnmarshalTypeError
	if s, err := c.Status(t.Context()); !errors.As(err, &shape) || !strings.Contains(err.Error(), "query-status") {
		t.Errorf("got %+v, %v, want an error about the answer's type", s, err)
	}
}

func TestEventsGluedToTheHandshake(t *testing.T) {
	c := script{"qmp_capabilities": `{"return": {}, "id": %d}` + "\r\n" + halt + halt[:20], "query-status": halt[20:] + `{"return": {}, "id": %d}` + "\r\n"}.open(t)
	if _, err := c.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	events := c.SubscribeAll()
	for range 2 { // the second one came in two pieces
		if e, err := events.Next(t.Context()); err != nil || e.Event != "STOP" || e.Timestamp.Microseconds != 2 {
			t.Errorf("got %+v, %v, want STOP", e, err)
		}
	}
}

func TestEventsOutliveTheirQEMU(t *testing.T) {
	c := script{"": halt}.open(t)
	stream, err := c.Events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Quit(t.Context()); err != nil {
		t.Errorf("quit answered by the end: %v, want nil", err)
	}
	<-c.Done()
	if e, err := c.SubscribeAll().Next(t.Context()); err != nil || e.Event != "STOP" {
		t.Errorf("got %+v, %v, want STOP", e, err)
	}
	if e := <-stream; e.Event != "STOP" {
		t.Errorf("got %+v, want STOP", e)
	}
	if e, open := <-stream; open {
		t.Errorf("got %+v, want the stream closed", e)
	}
}

// TestCallsAreBoundedByThemselves gives no deadline to calls that nobody will
// ever answer.
func TestCallsAreBoundedByThemselves(t *testing.T) {
	for _, c := range []struct {
		name string
		call func(context.Context, *qmp.Client) error
	}{
		{"Execute", func(ctx context.Context, c *qmp.Client) error { return c.Execute(ctx, "x", nil, nil) }},
		{"Run", func(_ context.Context, c *qmp.Client) error { _, err := c.Run([]byte(`{"execute":"x"}`)); return err }},
		{"Quit", func(ctx context.Context, c *qmp.Client) error { return c.Quit(ctx) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := script{"x": "", "quit": ""}.open(t)
				began := time.Now()
				err := c.call(t.Context(), client)
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != qmp.Timeout {
					t.Errorf("got %v after %v, want deadline exceeded after %v", err, time.Since(began), qmp.Timeout)
				}
			})
		})
	}
}

func TestHandshakeIsBoundedByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		began := time.Now()
		_, err := qmp.New(t.Context(), ours)
		if !errors.Is(err, qmp.ErrBusy) || !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != qmp.Timeout {
			t.Errorf("got %v after %v, want ErrBusy, deadline exceeded after %v", err, time.Since(began), qmp.Timeout)
		}
	})
}

// TestHalfACommandIsFinishedFirst stops reading in the middle of a command. The
// peer has to get that command whole before the next one.
func TestHalfACommandIsFinishedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		said := make(chan string, 4)
		goOn := make(chan struct{})
		go func() {
			defer close(said)
			in := bufio.NewReader(theirs)
			io.WriteString(theirs, hello)
			in.ReadString('\n')
			io.WriteString(theirs, `{"return": {}, "id": 1}`+"\r\n")

			half := make([]byte, 10)
			io.ReadFull(theirs, half)
			<-goOn
			rest := bufio.NewReader(theirs)
			for {
				line, err := rest.ReadString('\n')
				if err != nil {
					return
				}
				line = string(half) + line
				half = nil
				said <- line
				var c struct{ ID uint64 }
				if json.Unmarshal([]byte(line), &c) == nil {
					fmt.Fprintf(theirs, `{"return": {}, "id": %d}`+"\r\n", c.ID)
				}
			}
		}()
		c, err := qmp.New(t.Context(), ours)
		if err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"cut-short", "withdrawn", "withdrawn-too"} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := c.Execute(ctx, command, nil, nil)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "send") {
				t.Errorf("%s: got %v, want the deadline while sending", command, err)
			}
		}
		close(goOn)
		if err := c.Execute(t.Context(), "whole", nil, nil); err != nil {
			t.Errorf("whole: %v", err)
		}
		c.Close()
		theirs.Close()
		var got []string
		for line := range said {
			got = append(got, strings.TrimSpace(line))
		}
		want := []string{`{"execute":"cut-short","id":2}`, `{"execute":"whole","id":5}`}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("the peer got %q, want %q", got, want)
		}
	})
}

func TestErrorText(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{&qmp.Error{Class: qmp.GenericError, Desc: "no disk"}, "no disk"},
		{&qmp.Error{Class: qmp.DeviceNotFound, Desc: "no disk"}, "DeviceNotFound: no disk"},
		{&qmp.Error{Class: qmp.GenericError}, "GenericError"},
		{&qmp.Error{Desc: "no disk"}, "no disk"},
		{&qmp.Error{}, "refused without a reason"},
		{&qmp.OverflowError{Lost: 3}, "3 events lost: the subscriber was too slow"},
		{&qmp.ProtocolError{Line: "<html>", Reason: "why"}, `peer does not speak QMP: why: "<html>"`},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
