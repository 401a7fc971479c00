package nest

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func TestHear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		go func() {
			there.Write([]byte("SSH-2.0-x"))
			there.Close()
		}()
		conn, err := hear(here, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(conn); err != nil || string(b) != "SSH-2.0-x" {
			t.Errorf("read %q, %v: want all from the first byte", b, err)
		}
		conn.Close()
	})
}

func TestHearGivesUpOnSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		defer here.Close()
		start := time.Now()
		if _, err := hear(here, time.Second); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v, want a deadline", err)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("took %v, want the second it was given", took)
		}
	})
}
