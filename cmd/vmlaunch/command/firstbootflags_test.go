package command

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/guest"
)

func TestFirstBootFlags(t *testing.T) {
	keys, err := guest.NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Chdir(dir)
	for name, text := range map[string]string{
		"-a,b=c \"q'\nü": "# mine\n\n" + keys.ClientPub + " me@home\n" + `restrict ` + keys.HostPub + "\n",
		"private":        string(keys.Client), "empty": "# none\n", "prose": "hello\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := blueprintOf(t, "--image", "./disk", "--user", "ada", "--ssh-key", keys.ClientPub, "--ssh-key=-a,b=c \"q'\nü", "--user-data", "-u,=", "--network-config", "n",
		"--credential", "a=b=@c", "--credential", "f=@-x,y", "--ready", "none")
	if err != nil {
		t.Fatal(err)
	}
	want := configs.Machine{
		Name: "web", Image: filepath.Join(dir, "disk"), User: "ada", SSHKeys: []string{keys.ClientPub, keys.ClientPub + " me@home", "restrict " + keys.HostPub},
		UserData: filepath.Join(dir, "-u,="), NetworkConfig: filepath.Join(dir, "n"), Ready: "none",
		Credentials: []configs.Credential{{Name: "a", Value: "b=@c"}, {Name: "f", File: filepath.Join(dir, "-x,y")}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	_, err = blueprintOf(t, "--image", "./disk", "--ssh-key", "private", "--ssh-key", "empty", "--ssh-key", "prose", "--ssh-key", "gone", "--ssh-key", ".", "--ssh-key", "",
		"--credential", "a", "--credential", "b=@", "--ready", "soon")
	if err == nil {
		t.Fatal("all of it is wrong")
	}
	lines := strings.Split(err.Error(), "\n")
	for _, want := range []string{
		`ssh-key "private": is a private key, want the public one (private.pub)`, `ssh-key "empty": has no public key in it`, `ssh-key "prose": "hello" is no public key`,
		`ssh-key "gone": no such file or directory (want a file, or the text of a public key)`, `ssh-key ".": want a file of at most 65536 bytes`, `ssh-key: want a file, or the text of a public key`,
		`credential "a": want NAME=VALUE or NAME=@FILE`, `credential "b=@": want a file after the @ (a value that begins with @ has to be in a file)`, `ready "soon": want notify or ssh or none`,
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("want %q in\n%v", want, err)
		}
	}
}
