package netns

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestValidName(t *testing.T) {
	for _, name := range []string{"a", "0", "blue", "lab-1.web_2", strings.Repeat("x", 64)} {
		if err := ValidName(name); err != nil {
			t.Errorf("%q: got %v, want it valid", name, err)
		}
	}
	for _, name := range []string{
		"", ".", "..", "-a", ".a", "_a", "A", "a b", "a/b", "../evil", "a\n", "ä", "pid:1", "a\x00", strings.Repeat("x", 65),
	} {
		if err := ValidName(name); !errors.Is(err, ErrBadName) {
			t.Errorf("%q: got %v, want ErrBadName", name, err)
		}
	}
}

func TestRefPath(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct{ ref, path, lasting string }{
		"own":             {"", "/proc/self/ns/net", ""},
		"name":            {"blue", "/run/netns/blue", "blue"},
		"foreign name":    {"Sp ace:1", "/run/netns/Sp ace:1", "Sp ace:1"},
		"process":         {"pid:1", "/proc/1/ns/net", "pid:1"},
		"absolute":        {"/proc/7/ns/net", "/proc/7/ns/net", "/proc/7/ns/net"},
		"relative":        {"./ns", here + "/ns", here + "/ns"},
		"dots":            {"/run/netns/../x", "/run/x", "/run/x"},
		"dot":             {".", "", ""},
		"parent":          {"..", "", ""},
		"nul":             {"a\x00b", "", ""},
		"nul in path":     {"/a\x00b", "", ""},
		"process 0":       {"pid:0", "", ""},
		"negative":        {"pid:-1", "", ""},
		"process word":    {"pid:self", "", ""},
		"process path":    {"pid:1/../2", "", ""},
		"huge process id": {"pid:99999999999", "", ""},
		"too long":        {strings.Repeat("x", 256), "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path, lasting, err := refPath(tt.ref)
			if tt.path == "" {
				if !errors.Is(err, ErrBadName) {
					t.Errorf("got %q, %v; want ErrBadName", path, err)
				}
				return
			}
			if path != tt.path || lasting != tt.lasting || err != nil {
				t.Errorf("got %q, %q, %v; want %q, %q", path, lasting, err, tt.path, tt.lasting)
			}
		})
	}
}

// FuzzPinPath asks that no name leads out of the directory of names.
func FuzzPinPath(f *testing.F) {
	for _, s := range []string{"a", "..", "../evil", "a/../../b", "a\x00/b", "", "...", "~", "%2e%2e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		path, err := pinPath(name)
		if err == nil && (filepath.Clean(path) != path || filepath.Dir(path) != runDir) {
			t.Errorf("pinPath(%q) = %q, which is not in %s", name, path, runDir)
		}
		if ValidName(name) == nil && err != nil {
			t.Errorf("%q may be created but not opened: %v", name, err)
		}
	})
}

func TestChooseRef(t *testing.T) {
	tests := map[string]struct {
		given      string
		own, first bool
		names      []string
		want       string
	}{
		"home on the host":             {"", true, true, nil, ""},
		"home on the host, with names": {"", true, true, []string{"host"}, ""},
		"the host by a name":           {"host", true, true, []string{"host"}, "host"},
		"inside ip netns exec":         {"", true, false, []string{"blue"}, "blue"},
		"home without a name":          {"", true, false, nil, ""},
		"by name":                      {"blue", false, false, []string{"azure", "blue"}, "blue"},
		"by process, named":            {"pid:7", false, false, []string{"azure", "blue"}, "azure"},
		"by process, nameless":         {"pid:7", false, false, nil, "pid:7"},
		"by own process":               {"pid:7", true, true, nil, ""},
		"by container, named":          {"container:web", true, true, []string{"blue"}, "container:web"},
		"by path, named":               {"/run/netns/blue", false, false, []string{"blue"}, "blue"},
		"by path, nameless":            {"/tmp/x", false, false, nil, "/tmp/x"},
		"the host from inside another": {"pid:1", false, true, nil, "pid:1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := chooseRef(tt.given, tt.own, tt.first, tt.names); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestMountinfoEscape(t *testing.T) {
	if got, want := mountinfoEscape("/run/netns/a b\\c\td\n"), `/run/netns/a\040b\134c\011d\012`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
