package qmp_test

import (
	"os"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/fakeqemu"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/qmp/qmptest"
)

func TestMain(m *testing.M) {
	fakeqemu.Main()
	os.Exit(m.Run())
}

func TestFakeQEMU(t *testing.T) {
	qmptest.Run(t, fake(t, fakeqemu.Behaviour{}))
}

// TestFakeQEMUInPieces runs the suite over a connection that splits every
// message, which a real QEMU's does now and then.
func TestFakeQEMUInPieces(t *testing.T) {
	qmptest.Run(t, fake(t, fakeqemu.Behaviour{Split: true}))
}

func TestRealQEMU(t *testing.T) {
	testenv.Require(t, testenv.QEMU)
	qmptest.Run(t, qmptest.Command("qemu-system-x86_64"))
}

// fake starts this test binary as a QEMU of that behaviour.
func fake(t testing.TB, b fakeqemu.Behaviour) qmptest.Start {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return qmptest.Command(self, b.Environ())
}
