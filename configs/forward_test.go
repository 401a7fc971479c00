package configs

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestParseForward(t *testing.T) {
	local := func(port uint32) Endpoint { return Endpoint{Network: "tcp", Host: "127.0.0.1", Port: port} }
	in := func(port uint32) Endpoint { return Endpoint{Network: "tcp", Host: "localhost", Port: port} }
	for text, want := range map[string]Forward{
		"8080:80":                {local(8080), in(80)},
		":80":                    {local(0), in(80)},
		"0:80":                   {local(0), in(80)},
		"127.0.0.1:8080:80":      {local(8080), in(80)},
		"127.0.0.1::80":          {local(0), in(80)},
		"0.0.0.0:8080:80":        {Endpoint{Network: "tcp", Host: "0.0.0.0", Port: 8080}, in(80)},
		"localhost:8080:80":      {Endpoint{Network: "tcp", Host: "localhost", Port: 8080}, in(80)},
		"[::1]:8080:80":          {Endpoint{Network: "tcp", Host: "::1", Port: 8080}, in(80)},
		"[fe80::1%eth0]:8080:80": {Endpoint{Network: "tcp", Host: "fe80::1%eth0", Port: 8080}, in(80)},
		"8080:tcp:db.local:80":   {local(8080), Endpoint{Network: "tcp", Host: "db.local", Port: 80}},
		"8080:tcp:[::1]:80":      {local(8080), Endpoint{Network: "tcp", Host: "::1", Port: 80}},
		"8080:vsock:1024":        {local(8080), Endpoint{Network: "vsock", Port: 1024}},
		"8080:unix:/run/x.sock":  {local(8080), Endpoint{Network: "unix", Path: "/run/x.sock"}},
		"unix:/tmp/a.sock:80":    {Endpoint{Network: "unix", Path: "/tmp/a.sock"}, in(80)},
		"unix:rel.sock:unix:/b":  {Endpoint{Network: "unix", Path: "rel.sock"}, Endpoint{Network: "unix", Path: "/b"}},
		`unix:/a\:b\\c:vsock:7`:  {Endpoint{Network: "unix", Path: `/a:b\c`}, Endpoint{Network: "vsock", Port: 7}},
		"unix:/a, b='\"\n-x:80":  {Endpoint{Network: "unix", Path: "/a, b='\"\n-x"}, in(80)},
		"unix:[x]:80":            {Endpoint{Network: "unix", Path: "[x]"}, in(80)},
		"unix:-dash:80":          {Endpoint{Network: "unix", Path: "-dash"}, in(80)},
		"8080:unix:/[::1]":       {},
		"80":                     {},
		"":                       {},
		":":                      {},
		"8080:":                  {},
		"8080:0":                 {},
		"65536:80":               {},
		"8080:65536":             {},
		"8080:80/udp":            {},
		"8080:80:90":             {},
		"::1:8080:80":            {},
		"[::1:8080:80":           {},
		"[x]:8080:80":            {},
		"8080:tcp:80":            {},
		"8080:vsock:-1":          {},
		"8080:vsock:4294967295":  {},
		"8080:unix:rel":          {},
		"8080:unix:/a:b":         {},
		"unix::80":               {},
		"unix:@abstract:80":      {},
		"vsock:1024:80":          {},
		`unix:/a\x:80`:           {},
		`unix:/a\`:               {},
		"unix:/a\x00:80":         {},
		"a b:80:80":              {},
		"unix:/" + strings.Repeat("x", 107) + ":80": {},
	} {
		got, err := ParseForward(text)
		if (err == nil) != (want != Forward{}) || err == nil && got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
}

func TestPortsOfAMachine(t *testing.T) {
	for ports, want := range map[string]string{
		"8080:80 8081:80":           "",
		":80 :80":                   "",
		"8080:80 127.0.0.1:8080:81": "another one listens",
		"unix:/a:80 unix:/a:81":     "another one listens",
		"unix:a:80":                 "absolute path",
		"80":                        ":80 to have a free port",
		"8080:80/udp":               "UDP",
	} {
		m := Machine{Name: "web", Ports: strings.Fields(ports)}
		m.Default()
		err := m.Validate()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", ports, err, want)
		}
	}
	m := Machine{Name: "web", Image: ImageProbe, Ports: []string{"8080:80", "8081:vsock:7"}}
	m.Default()
	if err := m.Validate(); err == nil || strings.Count(err.Error(), "\n") != 0 || !strings.Contains(err.Error(), "vsock:PORT only") {
		t.Errorf("probe: %v", err)
	}
}

// FuzzParseForward: what is taken comes back the same, and leads to no other place.
func FuzzParseForward(f *testing.F) {
	for _, s := range []string{"8080:80", ":80", "[::1]:1:tcp:[::1]:2", `unix:/a\:b:unix:/c\\`, "1:vsock:2", "127.0.0.1::unix:/x", "localhost:0:80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseForward(s)
		if err != nil {
			return
		}
		again, err := ParseForward(got.String())
		if err != nil || again != got {
			t.Errorf("%q: %+v is written %q and read as %+v, %v", s, got, got.String(), again, err)
		}
		for _, e := range []Endpoint{got.Listen, got.Target} {
			if e.Network == NetworkUnix && (e.Path == "" || strings.ContainsRune(e.Path, 0) || len(e.Path) > maxSocketPath) {
				t.Errorf("%q: path %q", s, e.Path)
			}
		}
		if got.Target.Network == NetworkUnix && !filepath.IsAbs(got.Target.Path) {
			t.Errorf("%q: target %q", s, got.Target.Path)
		}
	})
}
