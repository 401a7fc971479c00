package configs

import (
	"strings"
	"testing"
)

func TestParseNetwork(t *testing.T) {
	for text, want := range map[string]Network{
		"none":                            {Kind: NetNone},
		"user":                            {Kind: NetUser},
		"bridge,host":                     {Kind: NetBridge, Host: true},
		"bridge=a=b c":                    {Kind: NetBridge, Name: "a=b c"},
		"tap=-t\"0,mac=02:00:00:00:00:01": {Kind: NetTap, Name: "-t\"0", MAC: "02:00:00:00:00:01"},
		"bridge,address=10.0.9.2/24,gateway=10.0.9.1": {Kind: NetBridge, Address: "10.0.9.2/24", Gateway: "10.0.9.1"},
		"no-such-kind": {Kind: "no-such-kind"}, // for Validate
	} {
		got, err := ParseNetwork(text)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", text, got, err, want)
		}
		if got.String() != text {
			t.Errorf("%s: written as %s", text, got)
		}
	}
	for _, text := range []string{"", ",", "=a", "tap=", "user,", "user,mac", "user,mac=", "user,host=yes", "user,mac=a,mac=b", "user,color=red"} {
		if n, err := ParseNetwork(text); err == nil {
			t.Errorf("%q: %+v, want an error", text, n)
		}
	}
}

func TestValidateNetworks(t *testing.T) {
	for text, want := range map[string]string{
		"user user bridge passt tap=t0 tap=t1 bridge=br0 bridge=br0": "",
		"none": "", "bridge,host": "", "tap=a=b\"'-é": "", "bridge=br0,address=10.1.0.2/16,gateway=10.1.0.1": "",
		"bridge,gateway=10.1.0.1":          "",
		"slirp":                            "want none, user, passt",
		"none user":                        "excludes all others",
		"none,mac=02:00:00:00:00:01":       "none has no options",
		"bridge bridge":                    "bridge is there twice",
		"tap=t0 tap=t0":                    "tap t0 is there twice",
		"tap":                              "want tap=NAME",
		"user=me":                          "user has no name",
		"tap=aaaabbbbccccdddd":             "want a name of 1 to 15 bytes",
		"tap=a/b":                          "want a name of 1 to 15 bytes",
		"tap=..":                           "want a name of 1 to 15 bytes",
		"tap=a%d":                          "want a name of 1 to 15 bytes",
		"bridge=a:b":                       "want a name of 1 to 15 bytes",
		"user,host":                        "host is for a bridge",
		"bridge=br0,host":                  "host is for a bridge",
		"user,address=10.0.0.2/24":         "gives the guest its address",
		"passt,gateway=10.0.0.2":           "gives the guest its address",
		"tap=t0,gateway=10.0.0.2":          "a gateway wants an address",
		"user,mac=01:00:00:00:00:01":       "want one of a single device",
		"user,mac=02:00:00:00:00:00:00:01": "want one of a single device",
		"user,mac=me":                      "want one of a single device",
		"bridge,address=10.0.0.2":          "want one of IPv4",
		"bridge,address=::1/64":            "want one of IPv4",
		"bridge,address=10.0.0.0/24":       "want one of IPv4",
		"bridge,address=10.0.0.2/31":       "want one of IPv4",
		"bridge,address=10.0.0.1/24":       "is the bridge's own",
		"tap=t,address=10.0.0.2/24,gateway=10.0.1.1":              "of the same subnet",
		"user,mac=02:00:00:00:0A:01 bridge,mac=02:00:00:00:0a:01": "02:00:00:00:0a:01 is there twice",
		"user user user user user user user user user":            "want at most 8",
	} {
		m := Machine{Name: "web"}
		for word := range strings.FieldsSeq(text) {
			n, err := ParseNetwork(word)
			if err != nil {
				t.Fatal(err)
			}
			m.Networks = append(m.Networks, n)
		}
		m.Default()
		err := m.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	blank := Machine{Name: "web", Networks: []Network{{Kind: NetTap, Name: "a b"}, {Kind: NetTap, Name: "a\nb"}, {Kind: NetTap, Name: "a,b"}}}
	blank.Default()
	if err := blank.Validate(); err == nil || strings.Count(err.Error(), "want a name") != 3 {
		t.Errorf("blanks and commas in names: %v", err)
	}
}

func TestDefaultNetworks(t *testing.T) {
	for image, want := range map[string]int{ImageLinux: 0, ImageProbe: 0, "/disk": 1} {
		m := Machine{Image: image}
		m.Default()
		m.Default()
		if len(m.Nets()) != want {
			t.Errorf("%s: %v, want %d", image, m.Nets(), want)
		}
	}
	off := Machine{Image: "/disk", Networks: []Network{{Kind: NetNone}}}
	off.Default()
	if off.Nets() != nil {
		t.Errorf("none: %v", off.Nets())
	}
}

func FuzzParseNetwork(f *testing.F) {
	for _, s := range []string{"user", "bridge,host", "tap=t0,mac=02:00:00:00:00:01", "bridge=br0,address=10.0.0.2/24,gateway=10.0.0.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := ParseNetwork(text)
		if err != nil {
			return
		}
		m := Machine{Name: "web", Networks: []Network{n}}
		m.Default()
		if m.Validate() != nil {
			return
		}
		if again, err := ParseNetwork(n.String()); err != nil || again != n {
			t.Errorf("%q is %+v, written %q, read %+v, %v", text, n, n, again, err)
		}
	})
}
