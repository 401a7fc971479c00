package launcher

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testFolder(t *testing.T) folder {
	t.Helper()
	root := t.TempDir()
	return folder{run: filepath.Join(root, "run", "web"), state: filepath.Join(root, "state", "machines", "web")}
}

func TestRunFolderIsPrivateAndNew(t *testing.T) {
	f := testFolder(t)
	for _, uuid := range []string{"first", "second"} {
		if err := f.makeRun(uuid); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(f.marker()); err != nil || string(got) != uuid {
			t.Errorf("marker: got %q, %v, want %q", got, err, uuid)
		}
		if _, err := os.Stat(f.qmp()); err == nil {
			t.Error("a socket of the run before is still there")
		}
		if err := os.WriteFile(f.qmp(), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := os.Stat(f.run); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("run folder: %v, %v, want mode 0700", st.Mode(), err)
	}
	for range 2 {
		if err := f.removeRun(); err != nil {
			t.Error(err)
		}
	}
}

// TestRunFolderOfSomebodyElseStays puts a folder in the way that has no marker.
func TestRunFolderOfSomebodyElseStays(t *testing.T) {
	f := testFolder(t)
	file := filepath.Join(f.run, "theirs")
	if err := os.MkdirAll(f.run, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.makeRun("uuid"); err == nil {
		t.Error("made a run folder over somebody's")
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

func TestRotateKeepsOneRunBefore(t *testing.T) {
	f := testFolder(t)
	if made, err := f.makeState(); err != nil || !made {
		t.Fatalf("got %v, %v, want a new folder", made, err)
	}
	for _, text := range []string{"1", "2", "3"} {
		if err := f.rotate(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f.consoleLog(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	now, _ := os.ReadFile(f.consoleLog())
	before, _ := os.ReadFile(previous(f.consoleLog()))
	if string(now) != "3" || string(before) != "2" {
		t.Errorf("got %q and before it %q, want 3 and 2", now, before)
	}
	if made, err := f.makeState(); err != nil || made {
		t.Errorf("got %v, %v, want the folder that is there", made, err)
	}
}

func TestKeysStayTheSame(t *testing.T) {
	f := testFolder(t)
	if _, err := f.makeState(); err != nil {
		t.Fatal(err)
	}
	first, err := f.keys()
	if err != nil {
		t.Fatal(err)
	}
	again, err := f.keys()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(first, again); d != "" {
		t.Errorf("(-first +again):\n%s", d)
	}
	if st, err := os.Stat(f.clientKey()); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("private key: %v, want mode 0600", err)
	}
	if err := os.Remove(f.hostKey()); err != nil { // as if cut off while writing
		t.Fatal(err)
	}
	if other, err := f.keys(); err != nil || string(other.Host) == string(first.Host) {
		t.Errorf("after a cut-off write: %v, want a new set", err)
	}
}

func TestSocketPathsAreBounded(t *testing.T) {
	fits := strings.Repeat("x", maxSocketPath-len("//console.sock"))
	if err := (folder{run: "/" + fits}).checkSockets(); err != nil {
		t.Errorf("%d bytes: %v", len(fits), err)
	}
	err := folder{run: "/" + fits + "x"}.checkSockets()
	if err == nil || !strings.Contains(err.Error(), "path of 108 bytes, want at most 107") {
		t.Errorf("got %v, want it refused with the numbers", err)
	}
}
