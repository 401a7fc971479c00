package guest

import (
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// TestAnchor holds while the other side is there, says a word now and then, and breaks
// with the connection.
func TestAnchor(t *testing.T) {
	checkLeaks(t)
	near, far := pair(t)
	a := anchorIn(near)
	if !a.Holds() {
		t.Error("broken from the start")
	}
	word := make([]byte, 1)
	if _, err := io.ReadFull(far, word); err != nil || word[0] != '\n' {
		t.Errorf("heard %q, %v; want an empty line", word, err)
	}
	_ = far.Close()
	select {
	case <-a.Broken():
	case <-time.After(time.Minute):
		t.Fatal("holds although the other side is gone")
	}
	if a.Holds() {
		t.Error("holds although it is broken")
	}
	if err := a.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
}

// full is a connection into a guest that takes no more, as one that is paused.
type full struct {
	net.Conn
	tries chan struct{}
}

func (f full) Write([]byte) (int, error) {
	f.tries <- struct{}{}
	return 0, os.ErrDeadlineExceeded
}

// TestAnchorInAFrozenGuest has the other side take nothing: that breaks nothing.
func TestAnchorInAFrozenGuest(t *testing.T) {
	checkLeaks(t)
	near, _ := pair(t)
	tries := make(chan struct{}, 10)
	a := anchorIn(full{near, tries})
	<-tries
	<-tries // the first did not end it
	if !a.Holds() {
		t.Error("broken by a guest that does not read")
	}
	if err := a.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// TestAnchorClosedFirst closes one that nothing has broken.
func TestAnchorClosedFirst(t *testing.T) {
	checkLeaks(t)
	near, far := pair(t)
	a := anchorIn(near)
	if err := a.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if n, err := far.Read(make([]byte, 1)); err == nil {
		t.Errorf("the other side read %d bytes, want the end", n)
	}
}
