package launcher

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// TestRealTPM gives a TPM to a real QEMU: it is there, it remembers, and it ends with
// QEMU by itself.
func TestRealTPM(t *testing.T) {
	testenv.Require(t, testenv.SWTPM)
	b := newBootTest(t, filepath.Join(t.TempDir(), "a,b c"), configs.FormatRaw, configs.Machine{MemoryMiB: 64, TPM: true})
	var daemons []proc.ID
	b.live = func(s liveShelf) {
		var tpms []struct{ Model string }
		if err := s.qemu.Execute(t.Context(), "query-tpm", nil, &tpms); err != nil || len(tpms) != 1 || tpms[0].Model != "tpm-crb" {
			t.Errorf("got %v, %v, want a tpm-crb", tpms, err)
		}
		found, err := proc.Marked(daemonMark + "=" + b.uuid)
		if err != nil || len(found) != 1 {
			t.Errorf("got %v, %v, want a swtpm", found, err)
		}
		daemons = found
	}
	b.boot("boot 1")
	for _, id := range daemons { // its parent is this test, which has let go of it
		if err := id.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		reap(id.PID)
	}
	if states, err := os.ReadDir(b.files.tpm(false)); err != nil || len(states) == 0 {
		t.Errorf("the TPM's state: %v, %v", states, err)
	}
}
