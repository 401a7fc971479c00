package command

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// installation returns a root that knows two machines that are down.
func installation(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	own, err := netns.Open("")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	err = store.New(filepath.Join(root, "state")).Update(t.Context(), func(tx *store.Tx) error {
		for i, name := range []string{"apple", "berry"} {
			spec := configs.Machine{Name: name, Image: configs.ImageProbe}
			spec.Default()
			cid := vsock.CID(42 + i)
			m := store.Machine{
				Name: name, Spec: spec, Phase: store.Stopped, CID: cid, Space: store.Global, Created: time.Unix(1e9, 0),
				Netns: store.NetnsRef{ID: own.ID(), Mode: vsock.Global}, Boot: own.ID().Boot,
			}
			if err := tx.PutMachine(m); err != nil {
				return err
			}
			if err := tx.PutLease(store.Lease{CID: cid, Space: store.Global, Machine: name, Taken: time.Unix(1e9, 0)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func TestLs(t *testing.T) {
	root := installation(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"ls"}, "" +
			"NAME   STATE    READY  NETNS   MODE    CID  IMAGE  CPU  MEM  UPTIME\n" +
			"apple  stopped  no     (host)  global  42   probe  1    2M   -\n" +
			"berry  stopped  no     (host)  global  43   probe  1    2M   -\n"},
		{[]string{"ps", "-q"}, "apple\nberry\n"},
		{[]string{"ls", "-o", "template={{.name}}:{{.cid}}"}, "apple:42\nberry:43\n"},
		{[]string{"inspect", "apple", "-o", "template={{.state}} {{.spec.board}}"}, "stopped pc\n"},
		{[]string{"cid", "ls", "-q"}, "42\n43\n"},
	} {
		got := vmlaunchIn(t, root, nil, c.args...)
		if got.stdout != c.want || got.code != OK || got.stderr != "" {
			t.Errorf("%q: exit code %d, %s\n got %q\nwant %q", c.args, got.code, got.stderr, got.stdout, c.want)
		}
	}
}

func TestInspectIsOneObject(t *testing.T) {
	got := vmlaunchIn(t, installation(t), nil, "inspect", "berry")
	var m struct {
		Name  string
		State string
		CID   int
		PID   int
		Logs  map[string]string
	}
	if err := json.Unmarshal([]byte(got.stdout), &m); err != nil {
		t.Fatalf("%v: %s%s", err, got.stdout, got.stderr)
	}
	if m.Name != "berry" || m.State != "stopped" || m.CID != 43 || m.PID != 0 || len(m.Logs) != 4 {
		t.Errorf("got %+v", m)
	}
}

func TestMachineVerbsOnRecords(t *testing.T) {
	for _, c := range []struct {
		args []string
		code Code
		want string // in what is said
	}{
		{[]string{"stop", "nobody"}, NotFound, `machine "nobody": does not exist`},
		{[]string{"exec", "nobody", "true"}, OwnFailure, `machine "nobody": does not exist`},
		{[]string{"exec", "apple", "PING"}, OwnFailure, `machine "apple": is stopped`},
		{[]string{"shell", "apple"}, OwnFailure, `machine "apple": is stopped`},
		{[]string{"console", "apple"}, Conflict, `machine "apple": is stopped`},
		{[]string{"pause", "apple"}, Conflict, `machine "apple": is stopped`},
		{[]string{"qmp", "apple", "query-status"}, Conflict, `machine "apple": is stopped`},
		{[]string{"wait", "apple", "--for", "running"}, Conflict, `machine "apple": is stopped`},
		{[]string{"wait", "apple", "berry", "--for", "stopped"}, OK, ""},
		{[]string{"logs", "apple"}, NotFound, `machine "apple": no log `},
		{[]string{"up", "apple", "--cid", "7"}, Conflict, `want 7`},
		{[]string{"rm", "apple", "nobody"}, Partial, "1 of 2 machines failed"},
		{[]string{"rm", "apple", "berry"}, OK, "berry removed\n"},
		{[]string{"rm", "--all"}, OK, "apple removed\n"},
		{[]string{"rm", "--all", "apple"}, Usage, "machines by NAME, or --lab or --all, not both"},
		{[]string{"stop", "-p", "pair"}, NotFound, `lab "pair": no machine of it`},
		{[]string{"exec", "--all", "--lab", "x", "true"}, Usage, "--all or --lab, not both"},
		{[]string{"exec", "--all"}, Usage, "want a command"},
		{[]string{"exec", "--all", "--", "true"}, Conflict, "is stopped"},
		{[]string{"down", "apple"}, OK, "apple removed\n"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			got := vmlaunchIn(t, installation(t), nil, c.args...)
			if said := got.stdout + got.stderr; got.code != c.code || !strings.Contains(said, c.want) {
				t.Errorf("exit code %d, want %d: %s", got.code, c.code, said)
			}
		})
	}
}

func TestCompletionOfNames(t *testing.T) {
	root := installation(t)
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"stop", ""}, []string{"apple", "berry"}},
		{[]string{"stop", "b"}, []string{"berry"}},
		{[]string{"stop", "apple", ""}, []string{"berry"}},
		{[]string{"inspect", "a"}, []string{"apple"}},
		{[]string{"inspect", "apple", ""}, nil},
		{[]string{"up", "--image", ""}, []string{"linux", "probe"}},
		{[]string{"version", ""}, nil},
	} {
		args := append([]string{"__complete"}, c.args...)
		got := vmlaunchIn(t, root, nil, append([]string{}, args...)...)
		var words []string
		for line := range strings.Lines(got.stdout) {
			if !strings.HasPrefix(line, ":") {
				words = append(words, strings.TrimSpace(line))
			}
		}
		if !slices.Equal(words, c.want) || got.code != OK {
			t.Errorf("%q: %q, want %q (%s)", c.args, words, c.want, got.stderr)
		}
	}
}

// TestDamagedStateSaysSo shows that a state file of a newer vmlaunch, or one
// that is none, ends every command that needs it with exit code 9.
func TestDamagedStateSaysSo(t *testing.T) {
	root := t.TempDir()
	writeFile(t, filepath.Join(root, "state", "state.db"), strings.Repeat("not a database\n", 1000))
	for _, args := range [][]string{{"ls"}, {"up", "apple", "--image", "probe"}, {"cid", "ls"}, {"stop", "apple"}} {
		if got := vmlaunchIn(t, root, nil, args...); got.code != StateUnusable || !strings.HasSuffix(got.stderr, " (vmlaunch repair)\n") || strings.Count(got.stderr, "\n") != 1 {
			t.Errorf("%q: exit code %d, want %d: %s", args, got.code, StateUnusable, got.stderr)
		}
	}
}
