package command

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/launcher"
	"github.com/vmlaunch/vmlaunch/store"
)

// addLinux adds a linux machine that is down, with its keys, to an installation,
// and returns its host key.
func addLinux(t *testing.T, root, name string) (hostPub string) {
	t.Helper()
	spec := configs.Machine{Name: name, Image: configs.ImageLinux}
	spec.Default()
	err := store.New(filepath.Join(root, "state")).Update(t.Context(), func(tx *store.Tx) error {
		return tx.PutMachine(store.Machine{Name: name, Spec: spec, Phase: store.Stopped})
	})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := guest.NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "state/machines", name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		"id_ed25519": string(keys.Client), "id_ed25519.pub": keys.ClientPub, "host_ed25519": string(keys.Host), "host_ed25519.pub": keys.HostPub,
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return keys.HostPub
}

func TestSSHConfig(t *testing.T) {
	root := installation(t)
	hostPub := addLinux(t, root, "cherry")
	r := vmlaunchIn(t, root, nil, "ssh-config")
	if r.code != OK || strings.Count(r.stdout, "Host ") != 1 || !strings.Contains(r.stdout, "Host cherry.vmlaunch\n") {
		t.Errorf("want one block, the probes have none: %+v", r)
	}
	known, err := os.ReadFile(filepath.Join(root, "state/machines/cherry/known_hosts"))
	if want := "cherry.vmlaunch " + hostPub + "\n"; err != nil || string(known) != want {
		t.Errorf("known_hosts is %q (%v), want %q", known, err, want)
	}
	if r := vmlaunchIn(t, root, nil, "ssh-config", "cherry", "-o", "json"); r.code != OK {
		t.Errorf("%+v", r)
	} else {
		var ways []launcher.Access
		if err := json.Unmarshal([]byte(r.stdout), &ways); err != nil || len(ways) != 1 || ways[0].Host != "cherry.vmlaunch" || ways[0].User != "root" {
			t.Errorf("JSON %+v (%v)", ways, err)
		}
	}
	for name, want := range map[string]Code{"apple": Unable, "damson": NotFound} {
		if r := vmlaunchIn(t, root, nil, "ssh-config", name); r.code != want || r.stdout != "" || !strings.Contains(r.stderr, `"`+name+`"`) {
			t.Errorf("%s: %+v, want exit code %d", name, r, want)
		}
	}
}

// TestSSHReadsTheConfig asks OpenSSH what it understands, with paths that its
// format has tokens, quotes and blanks for.
func TestSSHReadsTheConfig(t *testing.T) {
	testenv.Require(t, testenv.SSH)
	way := launcher.Access{
		Machine: "web", Host: "web.vmlaunch", User: "root",
		Identity: `/a b/%h "q" \ 'x'/id`, KnownHosts: `/a b/%n,#/known`,
	}
	var text bytes.Buffer
	if err := writeSSHConfig(&text, []string{"/opt/v m/vmlaunch", "--root", "/r %d's"}, []launcher.Access{way}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ssh", "-G", "-F", file, "web.vmlaunch").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s\n%s", err, out, &text)
	}
	for _, want := range []string{
		"user root\n", "hostkeyalias web.vmlaunch\n", "stricthostkeychecking true\n", "identitiesonly yes\n",
		`proxycommand '/opt/v m/vmlaunch' --root '/r %%d'\''s' proxy web` + "\n",
		"identityfile " + strings.ReplaceAll(way.Identity, "%", "%%") + "\n",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("ssh does not understand %q:\n%s", want, out)
		}
	}
	way.Identity = "/a\nb"
	if err := writeSSHConfig(&text, []string{"vmlaunch"}, []launcher.Access{way}); err == nil {
		t.Error("want a path with a line break refused")
	}
}
