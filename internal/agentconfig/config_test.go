package agentconfig

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func valid() Config {
	return Config{
		Role: Guest, Hostname: "web", Listen: []string{"vsock:22"}, HostKey: "key", AuthorizedKeys: []string{"ssh-ed25519 A"},
		Notify: "vsock-stream:2:5000", EchoPort: EchoPort, Modules: []string{"/lib/a.ko", "/lib/b.ko"},
		Mounts: []Mount{{Tag: "mount0", Type: Virtiofs, Target: "/a b"}, {Tag: "mount1", Type: NineP, Target: "/c", ReadOnly: true}},
	}
}

func TestRoundTrip(t *testing.T) {
	nest := Config{Role: Nest, Listen: []string{"tcp::22"}, HostKey: "key", AuthorizedKeys: []string{"a", "b"}, Network: true}
	for _, want := range []Config{valid(), nest} {
		var b bytes.Buffer
		if err := want.Write(&b); err != nil {
			t.Fatal(err)
		}
		got, err := Read(&b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

// TestValidate breaks one thing at a time, and then all of them.
func TestValidate(t *testing.T) {
	all := valid()
	for _, test := range []struct {
		spoil func(*Config)
		want  string
	}{
		{func(c *Config) { c.Role = "server" }, "role"},
		{func(c *Config) { c.Hostname = "a/b" }, "hostname"},
		{func(c *Config) { c.Listen = []string{"udp:1"} }, "listen"},
		{func(c *Config) { c.HostKey = "" }, "hostKey"},
		{func(c *Config) { c.AuthorizedKeys = nil }, "authorizedKeys"},
		{func(c *Config) { c.Notify = "here" }, "notify"},
		{func(c *Config) { c.Modules = []string{"a.ko"} }, "module"},
		{func(c *Config) { c.Mounts = []Mount{{Type: Virtiofs, Target: "/a"}} }, "mount"},
	} {
		c := valid()
		test.spoil(&c)
		test.spoil(&all)
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", test.want, err)
		}
		if err := c.Write(io.Discard); err == nil {
			t.Errorf("%s: was written", test.want)
		}
	}
	if err := all.Validate(); err == nil || strings.Count(err.Error(), "\n") != 7 {
		t.Errorf("not all mistakes at once: %v", err)
	}
	none := valid()
	none.Listen = nil
	if none.Validate() == nil {
		t.Error("no address is valid")
	}
}

func TestReadRefuses(t *testing.T) {
	for _, text := range []string{"", "{}", `{"role":`, `{"rôle":"guest"}`, `{"role":"guest","unknown":1}`, strings.Repeat(" ", maxSize) + "{}"} {
		if c, err := Read(strings.NewReader(text)); err == nil || c.Role != "" {
			t.Errorf("%.40q: %+v, %v", text, c, err)
		}
	}
}

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]Address{
		"vsock:22":          {Network: "vsock", Port: 22},
		"vsock:4294967294":  {Network: "vsock", Port: 4294967294},
		"tcp::22":           {Network: "tcp", Port: 22},
		"tcp:127.0.0.1:0":   {Network: "tcp", Host: "127.0.0.1"},
		"tcp:[::1]:2222":    {Network: "tcp", Host: "::1", Port: 2222},
		"vsock:":            {},
		"vsock:4294967295":  {}, // VMADDR_PORT_ANY
		"vsock:2:22":        {},
		"tcp:22":            {},
		"tcp::65536":        {},
		"tcp:::1:22":        {},
		"unix:/run/a":       {},
		"":                  {},
		"vsock:-1":          {},
		"vsock-stream:2:22": {},
	} {
		got, err := ParseAddress(text)
		if got != want || (err != nil) != (want == Address{}) || err != nil && !errors.Is(err, ErrBadAddress) {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
		if err == nil && got.String() != text {
			t.Errorf("%q: String is %q", text, got)
		}
	}
}

func TestParseNotify(t *testing.T) {
	for text, want := range map[string]Notify{
		"vsock-stream:2:5000":       {CID: 2, Port: 5000},
		"vsock-stream:2":            {},
		"vsock-stream:2:":           {},
		"vsock-stream:2:5000:1":     {},
		"vsock-stream:2:4294967295": {},
		"vsock:2:5000":              {},
		"":                          {},
	} {
		got, err := ParseNotify(text)
		if got != want || (err != nil) != (want == Notify{}) || err != nil && !errors.Is(err, ErrBadAddress) {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
		if err == nil && got.String() != text {
			t.Errorf("%q: String is %q", text, got)
		}
	}
}

// TestValidateMount breaks a mount in each way.
func TestValidateMount(t *testing.T) {
	for _, m := range []Mount{
		{Type: NineP, Target: "/a"}, {Tag: "a", Target: "/a"}, {Tag: "a", Type: "nfs", Target: "/a"}, {Tag: "a", Type: NineP},
		{Tag: "a", Type: NineP, Target: "a"}, {Tag: "a", Type: NineP, Target: "/a/../b"}, {Tag: "a", Type: NineP, Target: "/a\x00"},
	} {
		if m.validate() == nil {
			t.Errorf("%+v is valid", m)
		}
	}
}
