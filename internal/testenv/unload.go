package testenv

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// UnloadVsock takes vsock and all that is built on it out of the kernel, or
// fails t. A test that calls it needs [Throwaway].
func UnloadVsock(t testing.TB) {
	t.Helper()
	for range 10 { // each round takes those that nothing uses any more
		table, err := os.ReadFile("/proc/modules")
		if err != nil {
			t.Fatal(err)
		}
		left := 0
		for line := range strings.Lines(string(table)) {
			if name := strings.Fields(line)[0]; strings.Contains(name, "vsock") {
				left++
				_ = unix.DeleteModule(name, unix.O_NONBLOCK) // in use: next round
			}
		}
		if left == 0 {
			return
		}
	}
	t.Fatal("vsock can't be unloaded")
}
