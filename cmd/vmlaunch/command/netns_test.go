package command

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// scratch is a name for a namespace of this test, which is removed after it.
func scratch(t *testing.T) string {
	t.Helper()
	testenv.Require(t, testenv.Root)
	name := fmt.Sprintf("command-test-%d", os.Getpid())
	t.Cleanup(func() { _ = netns.Remove(name) }) // most tests have removed it
	return name
}

func TestNetnsLife(t *testing.T) {
	name, root := scratch(t), t.TempDir()
	run := func(args ...string) outcome { return vmlaunchIn(t, root, nil, append([]string{"netns"}, args...)...) }

	if got := run("create", name, "--vsock", "global"); got.code != OK {
		t.Fatalf("create: exit code %d, %s", got.code, got.stderr)
	}
	if got := run("create", name, "--vsock", "global"); got.code != Conflict {
		t.Errorf("create again: exit code %d, want %d: %s", got.code, Conflict, got.stderr)
	}
	var n netnsJSON
	if err := json.Unmarshal([]byte(run("inspect", name).stdout), &n); err != nil {
		t.Fatal(err)
	}
	if n.Name != name || n.Mode != vsock.Global || !n.Ours || n.Created.IsZero() {
		t.Errorf("inspect: %+v", n)
	}
	if got := "\n" + run("ls", "-q").stdout; !strings.Contains(got, "\n"+name+"\n") || strings.Contains(got, "\n\n") {
		t.Errorf("ls -q: %q, want %s and no empty line for the host's own", got, name)
	}
	if got := run("rm", name); got.code != OK {
		t.Errorf("rm: exit code %d, %s", got.code, got.stderr)
	}
	if _, err := netns.Open(name); err == nil {
		t.Error("it is there after rm")
	}
	if got := run("rm", name); got.code != NotFound {
		t.Errorf("rm again: exit code %d, want %d: %s", got.code, NotFound, got.stderr)
	}
}

func TestNetnsRmSparesMachines(t *testing.T) {
	name, root := scratch(t), t.TempDir()
	if got := vmlaunchIn(t, root, nil, "netns", "create", name, "--vsock", "global"); got.code != OK {
		t.Fatal(got.stderr)
	}
	ns, err := netns.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	err = store.New(filepath.Join(root, "state")).Update(t.Context(), func(tx *store.Tx) error {
		return tx.PutMachine(store.Machine{Name: "web", Phase: store.Stopped, Netns: store.NetnsRef{Ref: name, ID: ns.ID(), Mode: vsock.Global}})
	})
	if err != nil {
		t.Fatal(err)
	}
	got := vmlaunchIn(t, root, nil, "netns", "rm", name)
	want := fmt.Sprintf("vmlaunch: remove netns %q: in use by machine web (remove it first: vmlaunch down web)\n", name)
	if got.code != Conflict || got.stderr != want {
		t.Errorf("exit code %d, %s", got.code, got.stderr)
	}
}

// TestNetnsCreateLeavesNothing fails to record the namespace after it was made.
func TestNetnsCreateLeavesNothing(t *testing.T) {
	name, root := scratch(t), t.TempDir()
	writeFile(t, filepath.Join(root, "state", "state.db"), strings.Repeat("not a database\n", 1000))
	if got := vmlaunchIn(t, root, nil, "netns", "create", name, "--vsock", "global"); got.code != StateUnusable {
		t.Errorf("exit code %d, want %d: %s", got.code, StateUnusable, got.stderr)
	}
	if _, err := netns.Open(name); err == nil {
		t.Error("the namespace is left")
	}
}

func TestNetnsExecOfNothing(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"nowhere true", `netns "nowhere": does not exist`},
		{"nowhere no-such-program", `run "no-such-program": executable file not found in $PATH`},
	} {
		got := vmlaunch(t, append([]string{"netns", "exec"}, strings.Fields(c.args)...)...)
		if got.code != OwnFailure || !strings.Contains(got.stderr, c.want) {
			t.Errorf("%s: exit code %d, %s", c.args, got.code, got.stderr)
		}
	}
}
