package cidalloc

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// patience bounds every wait for the outside in tests: it is long for a nest on
// a busy machine.
const patience = 60 * time.Second

// deadline asks until ok, for patience at most.
func deadline(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// answers asks the QEMU behind a QMP socket for its status. The greeting tells
// nothing: a thread of its own says it before there are devices.
func answers(path string) error {
	c, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := c.Write([]byte(`{"execute":"qmp_capabilities"}{"execute":"query-status"}`)); err != nil {
		return err
	}
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		if strings.Contains(lines.Text(), `"prelaunch"`) {
			return nil
		}
	}
	return errors.Join(lines.Err(), io.ErrUnexpectedEOF)
}

func openFiles(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}
