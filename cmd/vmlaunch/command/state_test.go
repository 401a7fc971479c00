package command

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/store"
)

func TestStateVerbs(t *testing.T) {
	root := installation(t)
	copied := filepath.Join(t.TempDir(), "copy.db")
	for _, c := range []struct {
		args   []string
		stdout string
		code   Code
		stderr string
	}{
		{[]string{"check"}, "" +
			"MACHINES  NETNS  LEASES  SCHEMA  SIZE   DAMAGE\n" +
			"2         0      2       2       64KiB  0\n", OK, ""},
		{[]string{"check", "-o", "template={{.machines}} {{.damage}}"}, "2 []\n", OK, ""},
		{[]string{"dump", "-o", "template={{range .machines}}{{.name}} {{end}}{{range .leases}}{{.cid}} {{end}}"}, "apple berry 42 43 \n", OK, ""},
		{[]string{"backup", copied}, copied + " written, 64KiB\n", OK, ""},
		{[]string{"backup", copied}, "", Conflict, "vmlaunch: back up to " + copied + ": file exists (choose another name, or --force)\n"},
		{[]string{"backup", copied, "--force", "-q"}, "", OK, ""},
		{[]string{"backup", "a", "b"}, "", Usage, "vmlaunch: state backup: want one FILE, got 2 words\n"},
		{[]string{"restore"}, "", Usage, "vmlaunch: state restore: want one FILE, got 0 words\n"},
		{[]string{"restore", "/nowhere"}, "", NotFound, "vmlaunch: restore /nowhere: no such file or directory\n"},
	} {
		got := vmlaunchIn(t, root, nil, append([]string{"state"}, c.args...)...)
		if got.stdout != c.stdout || got.code != c.code || got.stderr != c.stderr {
			t.Errorf("%q:\n got %q, %d, %q\nwant %q, %d, %q", c.args, got.stdout, got.code, got.stderr, c.stdout, c.code, c.stderr)
		}
	}
	if got := vmlaunchIn(t, root, nil, "state", "restore", copied); got.code != OK || !strings.Contains(got.stdout, copied+" restored; the state before it is "+root) {
		t.Errorf("restore: %+v", got)
	}
	piped := vmlaunchIn(t, root, nil, "state", "backup", "-")
	if b, err := os.ReadFile(copied); err != nil || piped.stdout != string(b) || piped.code != OK {
		t.Errorf("backup -: %d bytes, exit code %d, want the %d of the file (%v)", len(piped.stdout), piped.code, len(b), err)
	}
}

// TestStateVerbsOnADamagedFile shows what each does with a file that lost a page.
func TestStateVerbsOnADamagedFile(t *testing.T) {
	root := installation(t)
	path := filepath.Join(root, "state", "state.db")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b = []byte(strings.ReplaceAll(string(b), `{"name":"berry"`, `{"name":"Berry"`))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	const damage = `vmlaunch: machine "berry": state is damaged: it stands under the key "berry" (vmlaunch repair)` + "\n"
	for verb, stdout := range map[string]string{"check": "1         0      2       2       64KiB  1\n", "dump": `"name": "apple"`, "backup": ""} {
		got := vmlaunchIn(t, root, nil, "state", verb)
		if got.code != StateUnusable || got.stderr != damage || !strings.Contains(got.stdout, stdout) {
			t.Errorf("%s: exit code %d\n got %q, %q\nwant %q, %q", verb, got.code, got.stdout, got.stderr, stdout, damage)
		}
	}
	dump := vmlaunchIn(t, root, nil, "state", "dump")
	var content dumpJSON
	if err := json.Unmarshal([]byte(dump.stdout), &content); err != nil || len(content.Machines) != 1 || content.Netnses == nil {
		t.Errorf("dump: %v, %+v", err, content)
	}
}

func TestStateRestoreNamesWhatRuns(t *testing.T) {
	root := installation(t)
	copied := filepath.Join(t.TempDir(), "copy.db")
	if got := vmlaunchIn(t, root, nil, "state", "backup", copied); got.code != OK {
		t.Fatal(got.stderr)
	}
	self, err := proc.Self()
	if err != nil {
		t.Fatal(err)
	}
	err = store.New(filepath.Join(root, "state")).Update(t.Context(), func(tx *store.Tx) error {
		return tx.PutMachine(store.Machine{Name: "new", UUID: "u", Phase: store.Running, QEMU: self})
	})
	if err != nil {
		t.Fatal(err)
	}
	got := vmlaunchIn(t, root, nil, "state", "restore", copied)
	if want := "vmlaunch: restore " + copied + ": machines that run are not in it: new (stop them, or --force)\n"; got.code != Conflict || got.stderr != want {
		t.Errorf("exit code %d, %q, want %d, %q", got.code, got.stderr, Conflict, want)
	}
	if got := vmlaunchIn(t, root, nil, "state", "restore", copied, "--force"); got.code != OK {
		t.Errorf("forced: %+v", got)
	}
}

// TestStateVerbsWithoutAFile makes none.
func TestStateVerbsWithoutAFile(t *testing.T) {
	root := t.TempDir()
	for verb, code := range map[string]Code{"check": OK, "dump": OK, "backup": NotFound} {
		if got := vmlaunchIn(t, root, nil, "state", verb); got.code != code {
			t.Errorf("%s: %+v, want exit code %d", verb, got, code)
		}
	}
	if entries, err := os.ReadDir(root); err != nil || len(entries) != 0 {
		t.Errorf("they made %v (%v)", entries, err)
	}
}
