package launcher

import (
	"encoding/base64"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/store"
)

var sampleKeys = guest.Keys{Client: []byte("client"), ClientPub: "ssh-ed25519 CLIENT", Host: []byte("host\nkey\n"), HostPub: "ssh-ed25519 HOST"}

func TestCredentials(t *testing.T) {
	files := "f+~ /etc/ssh/ssh_host_ed25519_key 0600 root root - aG9zdAprZXkK\n" +
		"f+~ /etc/ssh/ssh_host_ed25519_key.pub 0644 root root - c3NoLWVkMjU1MTkgSE9TVAo=\n"
	const disk = "/images/base.qcow2"
	for name, c := range map[string]struct {
		spec configs.Machine
		own  map[string]string
		want map[string]string
	}{
		"a disk": {
			configs.Machine{Image: disk, Ready: configs.ReadyNotify}, nil,
			map[string]string{
				"ssh.authorized_keys.root": "ssh-ed25519 CLIENT\n", "tmpfiles.extra": files,
				"system.hostname": "web", "vmm.notify_socket": "vsock-stream:2:1024",
			},
		},
		"a disk that nobody waits for": {
			configs.Machine{Image: disk, Ready: configs.ReadyNone}, nil,
			map[string]string{"ssh.authorized_keys.root": "ssh-ed25519 CLIENT\n", "tmpfiles.extra": files, "system.hostname": "web"},
		},
		"another user, another key": {
			configs.Machine{Image: disk, Ready: configs.ReadySSH, User: "ada", SSHKeys: []string{"ssh-ed25519 OTHER me@home"}}, nil,
			map[string]string{
				"ssh.authorized_keys.root":          "ssh-ed25519 CLIENT\nssh-ed25519 OTHER me@home\n",
				"ssh.ephemeral-authorized_keys-all": "ssh-ed25519 CLIENT\nssh-ed25519 OTHER me@home\n",
				"tmpfiles.extra":                    files, "system.hostname": "web",
			},
		},
		"the user's own go first": {
			configs.Machine{Image: disk, Ready: configs.ReadyNone},
			map[string]string{"tmpfiles.extra": "d /x", "ssh.authorized_keys.root": "ssh-rsa OWN\n", "system.hostname": "mine", "other": ""},
			map[string]string{
				"tmpfiles.extra": "d /x\n" + files, "ssh.authorized_keys.root": "ssh-rsa OWN\nssh-ed25519 CLIENT\n",
				"system.hostname": "mine", "other": "",
			},
		},
		"the built-in guest has a way of its own": {
			configs.Machine{Ready: configs.ReadyNotify}, map[string]string{"a": "b"}, map[string]string{"a": "b"},
		},
	} {
		m := store.Machine{Name: "web", Spec: c.spec, NotifyPort: 1024}
		got := credentials(m, c.own, sampleKeys)
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		if _, ok := c.own["vmm.notify_socket"]; ok {
			t.Errorf("%s: the caller's map was written", name)
		}
	}
}

// TestFirstBootFiles holds what is written against what QEMU is told to read, and
// looks for secrets on its command line.
func TestFirstBootFiles(t *testing.T) {
	dir := t.TempDir()
	f := folder{run: filepath.Join(dir, "a,b=c \"q'\nü", "run"), state: filepath.Join(dir, "state")}
	for _, d := range []string{f.run, f.state} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	spec := configs.Machine{Name: "web", Image: "/images/base.qcow2", User: "ada", Credentials: []configs.Credential{{Name: "secret", Value: "of mine"}}}
	spec.Default()
	m := store.Machine{Name: "web", UUID: newUUID(), Spec: spec, NotifyPort: 7}
	first, err := resolveFirstBoot(spec)
	if err == nil {
		err = f.writeFirstBoot(m, first)
	}
	if err != nil {
		t.Fatal(err)
	}
	p := Plan{OEM: planCredentials(m, first, f), Drives: planSeed(spec, f)}
	var written []string
	for _, path := range p.OEM {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, value, ok := strings.Cut(strings.TrimPrefix(string(text), "io.systemd.credential.binary:"), "=")
		if _, err := base64.StdEncoding.DecodeString(value); !ok || err != nil || name != filepath.Base(path) {
			t.Errorf("%s holds %q: %v", path, text, err)
		}
		written = append(written, name)
	}
	there, err := os.ReadDir(filepath.Join(f.run, "credentials"))
	if err != nil || len(there) != len(written) {
		t.Errorf("%d files are there, %d are read: %v", len(there), len(written), err)
	}
	args := strings.Join(Args(p), "\n")
	if strings.Contains(args, "of mine") || strings.Contains(args, base64.StdEncoding.EncodeToString([]byte("of mine"))) {
		t.Error("a secret is on the command line")
	}
	if !strings.Contains(args, "type=11,path="+option(p.OEM[0])) {
		t.Errorf("arguments lack %q:\n%s", p.OEM[0], args)
	}
	if _, err := os.Stat(p.Drives[0].Layers[0].Path); err != nil {
		t.Error(err)
	}
	id, _ := f.instance("another")
	if id != m.UUID {
		t.Errorf("a second start is instance %q, want %q", id, m.UUID)
	}
}

func TestResolveFirstBoot(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, size int) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct {
		spec configs.Machine
		want string
	}{
		"no file":       {configs.Machine{UserData: filepath.Join(dir, "gone")}, "user-data"},
		"a folder":      {configs.Machine{NetworkConfig: dir}, "network-config"},
		"no credential": {configs.Machine{Credentials: []configs.Credential{{Name: "a", File: filepath.Join(dir, "gone")}}}, "credential a from"},
		"too large":     {configs.Machine{UserData: write("large", maxSeedFile+1)}, "is larger than"},
		"too much":      {configs.Machine{Credentials: []configs.Credential{{Name: "a", File: write("half", maxTold*3/4-100)}, {Name: "b", Value: strings.Repeat("x", 100)}}}, "want at most 49152"},
	} {
		_, err := resolveFirstBoot(c.spec)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want it to say %q", name, err, c.want)
		}
		if strings.HasPrefix(name, "no ") && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v, want fs.ErrNotExist", name, err)
		}
	}
	odd := write("-a,b=c \"q'\nü", 5)
	got, err := resolveFirstBoot(configs.Machine{UserData: odd, NetworkConfig: odd, Credentials: []configs.Credential{{Name: "a", File: odd}}})
	if err != nil || len(got.userData) != 5 || len(got.networkConfig) != 5 || len(got.credentials["a"]) != 5 {
		t.Errorf("odd path: %+v, %v", got, err)
	}
	if names := slices.Sorted(maps.Keys(got.credentials)); !slices.Equal(names, []string{"a"}) {
		t.Errorf("credentials: %v", names)
	}
}
