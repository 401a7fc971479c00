package configs

import (
	"errors"
	"strings"
	"testing"
)

func TestParseCredential(t *testing.T) {
	for text, want := range map[string]Credential{
		"a=b":               {Name: "a", Value: "b"},
		"a=":                {Name: "a"},
		"a=b=c,d e\n":       {Name: "a", Value: "b=c,d e\n"},
		"a=@/x,y=z \"q'\nü": {Name: "a", File: "/x,y=z \"q'\nü"},
		"a=@-x":             {Name: "a", File: "-x"},
		"a=@@":              {Name: "a", File: "@"},
		"a":                 {}, "=b": {}, "a=@": {}, "": {},
	} {
		got, err := ParseCredential(text)
		if _, bad := errors.AsType[*FieldError](err); got != want || bad != (want.Name == "") {
			t.Errorf("%q: got %+v, %v, want %+v", text, got, err, want)
		}
	}
}

func FuzzParseCredential(f *testing.F) {
	for _, s := range []string{"a=b", "a=@f", "a=@", "=", "a=@@x=y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCredential(text)
		if err != nil {
			return
		}
		if c.Name == "" || c.Value != "" && c.File != "" {
			t.Errorf("%q: got %+v", text, c)
		}
		if again, err := ParseCredential(c.String()); err != nil || again != c {
			t.Errorf("%q: comes back as %+v, %v, want %+v", text, again, err, c)
		}
	})
}

func TestValidateFirstBoot(t *testing.T) {
	m := Machine{
		Name: "web", Image: "/base.qcow2", User: "Ada Lovelace", SSHKeys: []string{"a\nb", " "}, UserData: "rel", NetworkConfig: "/a\x00",
		Ready: "soon", Credentials: []Credential{{Name: "a/b"}, {Name: "c", Value: strings.Repeat("x", maxCredential+1)}, {Name: "c"}, {Name: CredentialNotify}, {Name: "f", File: "rel"}},
	}
	m.Default()
	err := m.Validate()
	for _, want := range []string{
		`user "Ada Lovelace": want`, `ssh-key "a\nb": want one line`, `ssh-key " ": want one line`, `user-data "rel": want an absolute path`,
		`network-config "/a\x00": want an absolute path`, `ready "soon": want notify or ssh or none`, `credential "a/b": want a name`,
		`credential "c": has 32769 bytes`, `credential "c": is there twice`, `credential "vmm.notify_socket": is what vmlaunch itself`, `credential "f=@rel": want an absolute`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in: %v", want, err)
		}
	}
	probe := Machine{Name: "web", Image: ImageProbe, User: "ada", SSHKeys: []string{"ssh-rsa x"}, UserData: "/a", NetworkConfig: "/b", Credentials: []Credential{{Name: "c"}}}
	probe.Default()
	var errs Errors
	if err := probe.Validate(); !errors.As(err, &errs) || len(errs) != 5 {
		t.Errorf("probe: %v, want five mistakes", err)
	}
	good := Machine{
		Name: "web", Image: "/base.qcow2", User: "ada", SSHKeys: []string{"ssh-rsa x y"}, UserData: "/a,b=c \"q'\nü", NetworkConfig: "/-x",
		Ready: ReadySSH, Credentials: []Credential{{Name: "ssh.authorized_keys.root", Value: "\x00"}, {Name: "a@b-c_d"}},
	}
	good.Default()
	if err := good.Validate(); err != nil || good.Login() != "ada" || !good.Awaited() || !good.Seeded() || !good.Credentialed() {
		t.Errorf("good: %v", err)
	}
	plain := Machine{Name: "web"}
	plain.Default()
	if plain.Login() != Root || !plain.Awaited() || plain.Seeded() || plain.Credentialed() {
		t.Errorf("plain: %+v", plain)
	}
}
