package launcher

import (
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/fakeqemu"
)

// mainOfTests runs the tests, unless this process is a part of one: a fake QEMU
// or a launcher that is to be killed.
func mainOfTests(m *testing.M) int {
	fakeqemu.Main()
	return m.Run()
}
