package qmptest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/qmp"
)

// await returns the next event called name.
func await(t testing.TB, events *qmp.Subscription, name string) qmp.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	e, err := events.Await(ctx, name)
	if err != nil {
		t.Fatalf("wait for %s: %v", name, err)
	}
	if e.Timestamp.Seconds == 0 {
		t.Errorf("%s has no time", name)
	}
	return e
}

// toggle makes 2n events: n times RESUME, STOP.
func toggle(t testing.TB, c *qmp.Client, n int) {
	t.Helper()
	for range n {
		if err := errors.Join(c.Cont(t.Context()), c.Stop(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
}

// eventStorm reads replies of all sizes while a second monitor makes events as
// fast as it can. Of go-qemu's own reads some 2 % are damaged by that.
func eventStorm(t *testing.T, p *Peer) {
	c, other := dial(t, p.Path), dial(t, p.Second)
	events := c.Subscribe()

	want := map[string]json.RawMessage{}
	for _, command := range []string{"query-commands", "query-qmp-schema", "query-version"} {
		var answer json.RawMessage
		if err := c.Execute(t.Context(), command, nil, &answer); err != nil {
			t.Fatal(err)
		}
		want[command] = answer
	}

	stop := make(chan struct{})
	toggled := make(chan int, 1)
	go func() {
		n := 0
		defer func() { toggled <- n }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := errors.Join(other.Cont(t.Context()), other.Stop(t.Context())); err != nil {
				t.Error(err)
				return
			}
			n++
		}
	}()
	counted := make(chan int, 1)
	go func() { counted <- countEvents(t, events) }()

	// Enough to meet the fault many times in go-qemu; the clock only ends it
	// early on a slow host.
	reads := 0
	for end := time.Now().Add(2 * time.Second); reads < 2000 && time.Now().Before(end); {
		for command, answer := range want {
			var got json.RawMessage
			if err := c.Execute(t.Context(), command, nil, &got); err != nil {
				t.Errorf("%s: %v", command, err)
			} else if !bytes.Equal(got, answer) {
				t.Errorf("%s: %d bytes are damaged: %.80s", command, len(got), got)
			}
			reads++
		}
	}
	close(stop)
	sent := 2 * <-toggled
	if err := c.Reset(t.Context()); err != nil { // marks the end
		t.Error(err)
	}
	if got := <-counted; got != sent || sent == 0 {
		t.Errorf("%d events sent, %d received", sent, got)
	}
	t.Logf("%d reads good during %d events", reads, sent)
}

// countEvents counts RESUME and STOP, which have to alternate, until RESET.
func countEvents(t *testing.T, events *qmp.Subscription) int {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	last := ""
	for n := 0; ; n++ {
		e, err := events.Next(ctx)
		if err != nil {
			t.Errorf("event %d: %v", n, err)
			return n
		}
		if e.Event == "RESET" {
			return n
		}
		if e.Event == last || e.Event != "RESUME" && e.Event != "STOP" {
			t.Errorf("event %d is %s after %s, want the other one of RESUME and STOP", n, e.Event, last)
		}
		last = e.Event
	}
}

func earlyEvents(t *testing.T, p *Peer) {
	c := dial(t, p.Path)
	toggle(t, c, 2)
	stream, err := c.Events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all, late := c.SubscribeAll(), c.Subscribe()
	for _, want := range []string{"RESUME", "STOP", "RESUME", "STOP"} {
		if got := (<-stream).Event; got != want {
			t.Errorf("Events: got %s, want %s", got, want)
		}
		if e, err := all.Next(t.Context()); err != nil || e.Event != want {
			t.Errorf("SubscribeAll: got %s, %v, want %s", e.Event, err, want)
		}
	}
	if err := c.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e, err := late.Next(t.Context()); err != nil || e.Event != "RESET" {
		t.Errorf("Subscribe: got %s, %v, want RESET, the first from then on", e.Event, err)
	}
}

func broadcast(t *testing.T, p *Peer) {
	c := dial(t, p.Path)
	one, two := c.Subscribe(), c.Subscribe()
	stream, err := c.Events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	toggle(t, c, 1)
	for _, want := range []string{"RESUME", "STOP"} {
		a, errA := one.Next(t.Context())
		b, errB := two.Next(t.Context())
		if err := errors.Join(errA, errB); err != nil {
			t.Fatal(err)
		}
		if got := (<-stream).Event; a.Event != want || b.Event != want || got != want {
			t.Errorf("got %s, %s and %s, want %s three times", a.Event, b.Event, got, want)
		}
	}
}

func unreadEvents(t *testing.T, p *Peer) {
	c := dial(t, p.Path)
	c.Subscribe()
	var streams []<-chan qmp.Event
	for range 3 {
		stream, err := c.Events(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, stream)
	}
	toggle(t, c, 10)
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("status beside unread events: %v", err)
	}
	if err := c.Close(); err != nil { // would hang
		t.Error(err)
	}
	for _, stream := range streams {
		select {
		case e, open := <-stream:
			if open {
				t.Errorf("got %s after Close", e.Event)
			}
		default:
			t.Error("Close did not wait for the end of a stream")
		}
	}
}

func overflow(t *testing.T, p *Peer) {
	c := dial(t, p.Path)
	slow := c.Subscribe()
	stream, err := c.Events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	toggle(t, c, 1)
	if e := <-stream; e.Event != "RESUME" {
		t.Fatalf("first event is %s, want RESUME", e.Event)
	}
	const extra = 100
	toggle(t, c, qmp.EventBuffer/2+extra/2-1)
	mark := c.Subscribe()
	if err := c.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, mark, "RESET")

	var lost *qmp.OverflowError
	if _, err := slow.Next(t.Context()); !errors.As(err, &lost) || lost.Lost != extra+1 {
		t.Errorf("got %v, want %d events reported lost", err, extra+1)
	}
	if n := countEvents(t, slow); n != qmp.EventBuffer-1 {
		t.Errorf("%d events follow, want the latest %d", n, qmp.EventBuffer-1)
	}
	// The channel holds one event in a sender's hand, then says the same.
	for e := range stream {
		if e.Event == qmp.EventsLost {
			if n, ok := e.Data["count"].(uint64); !ok || n == 0 || n > extra {
				t.Errorf("got %v events lost, want some, at most %d", e.Data["count"], extra)
			}
			return
		}
		if e.Event == "RESET" {
			t.Fatal("the channel did not report the loss")
		}
	}
}

func streamContext(t *testing.T, p *Peer) {
	c := dial(t, p.Path)
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := c.Events(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if e, open := <-stream; open {
		t.Errorf("got %s, want the channel closed", e.Event)
	}
	expired, cancelExpired := context.WithTimeout(t.Context(), short)
	defer cancelExpired()
	if _, err := c.Subscribe().Next(expired); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want deadline exceeded", err)
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Error(err)
	}
}
