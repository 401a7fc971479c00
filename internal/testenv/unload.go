package testenv

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// UnloadVsock takes vsock and all that is built on it out of the kernel, or
// fails t. A test that calls it needs [Throwaway].
func UnloadVsock(t testing.TB) {
	t.Helper()
	// The kernel lets go of a device some time after its holder has ended.
	const bound = 10 * time.Second
	for end := time.Now().Add(bound); time.Now().Before(end); time.Sleep(bound / 1000) {
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
	t.Fatalf("vsock can't be unloaded, still in use after %v", bound)
}
