package qmp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"

	goqmp "github.com/digitalocean/go-qemu/qmp"
)

// EventsLost is the name of an event of our own. It stands, in the channel of
// [Client.Events], where events were lost; its data has their number as
// "count". Other subscriptions report an [*OverflowError] instead.
const EventsLost = "VMLAUNCH_EVENTS_LOST"

var (
	_ goqmp.Monitor = (*Client)(nil)
	_ goqmp.Monitor = bound{}
)

// Connect does what go-qemu's interface asks for, which is nothing: a Client is
// connected from the start. It fails with [Client.Err] when that is over.
func (c *Client) Connect() error { return c.Err() }

// Disconnect is [Client.Close]; its error is always nil.
func (c *Client) Disconnect() error { return c.Close() }

// Run runs a command that is given as JSON and returns QEMU's whole reply, with
// the command's own "id" if it has one. It fails as [Client.Execute] does, after
// [Timeout] at the latest, and with a syntax error if command is not a command;
// such a thing never reaches QEMU.
func (c *Client) Run(command []byte) ([]byte, error) {
	return c.run(context.Background(), command)
}

func (c *Client) run(ctx context.Context, command []byte) ([]byte, error) {
	var in struct {
		Execute   string          `json:"execute"`
		Arguments json.RawMessage `json:"arguments"`
		ID        json.RawMessage `json:"id"`
	}
	if err := json.Unmarshal(command, &in); err != nil {
		return nil, fmt.Errorf("qmp: read command: %w", err)
	}
	if in.Execute == "" {
		return nil, errors.New(`qmp: read command: no "execute" in it`)
	}
	r := request{Execute: in.Execute}
	if in.Arguments != nil {
		r.Arguments = in.Arguments
	}
	answer, err := c.call(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("qmp %s: %w", in.Execute, err)
	}
	return json.Marshal(struct {
		Return json.RawMessage `json:"return"`
		ID     json.RawMessage `json:"id,omitempty"`
	}{answer, in.ID})
}

// Events returns a channel of all events since the connection was made. It is
// closed when ctx ends or the conversation does. Each call has a channel of its
// own. It fails only when the client was closed before.
func (c *Client) Events(ctx context.Context) (<-chan Event, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if isClosed(c.closing) {
		return nil, net.ErrClosed // Close may be waiting for the streams there were
	}
	out := make(chan Event)
	c.streams.Go(func() {
		defer close(out)
		c.stream(ctx, c.SubscribeAll(), out)
	})
	return out, nil
}

// stream moves events from s to out until ctx or the client's life ends.
func (c *Client) stream(ctx context.Context, s *Subscription, out chan<- Event) {
	var overflow *OverflowError
	for {
		e, err := s.Next(ctx)
		switch {
		case errors.As(err, &overflow):
			e = Event{Event: EventsLost, Data: map[string]any{"count": overflow.Lost}}
		case err != nil:
			return
		}
		select {
		case out <- e:
		case <-ctx.Done():
			return
		case <-c.closing:
			return
		}
	}
}

// bound is a Client as a go-qemu monitor whose commands end with ctx. It lives
// for one call, as the interface leaves no other way for a context.
type bound struct {
	*Client
	ctx context.Context
}

// Run is the Client's Run, with a bound.
func (b bound) Run(command []byte) ([]byte, error) { return b.run(b.ctx, command) }
