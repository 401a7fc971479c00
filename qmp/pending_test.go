package qmp

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"testing"
)

// TestAbandonedCommandsAreForgotten gives up commands that nobody answers; a
// client that lives for long must not collect them.
func TestAbandonedCommandsAreForgotten(t *testing.T) {
	ours, theirs := net.Pipe()
	peer := make(chan struct{})
	go func() {
		defer close(peer)
		in := bufio.NewReader(theirs)
		io.WriteString(theirs, `{"QMP": {"version": {"qemu": {"major": 9}}}}`+"\n")
		in.ReadString('\n')
		io.WriteString(theirs, `{"return": {}, "id": 1}`+"\n")
		io.Copy(io.Discard, in)
	}()
	c, err := New(t.Context(), ours)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 10 {
		if err := c.Execute(ctx, "query-status", nil, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want canceled", err)
		}
	}
	if n := len(c.pending); n != 0 {
		t.Errorf("%d commands are still waited for, want 0", n)
	}
	c.Close()
	<-peer
}
