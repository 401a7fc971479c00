package paths

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestResolveRoot(t *testing.T) {
	t.Chdir("/")
	got, err := Resolve("tmp/x/")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Dirs{"/tmp/x/state", "/tmp/x/run", "/tmp/x/cache", "/tmp/x/config.yaml", "/tmp/x/catalog.yaml"}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestUser(t *testing.T) {
	for _, c := range []struct {
		name string
		env  map[string]string
		want Dirs
	}{
		{"home only", map[string]string{"HOME": "/home/a"},
			Dirs{"/home/a/.local/state/vmlaunch", "/home/a/.local/state/vmlaunch/run", "/home/a/.cache/vmlaunch", "/home/a/.config/vmlaunch/config.yaml", "/home/a/.config/vmlaunch/catalog.yaml"}},
		{"all said", map[string]string{"XDG_STATE_HOME": "/s", "XDG_CACHE_HOME": "/c", "XDG_RUNTIME_DIR": "/r", "XDG_CONFIG_HOME": "/e"},
			Dirs{"/s/vmlaunch", "/r/vmlaunch", "/c/vmlaunch", "/e/vmlaunch/config.yaml", "/e/vmlaunch/catalog.yaml"}},
		{"relative is ignored", map[string]string{"HOME": "/h", "XDG_STATE_HOME": "s", "XDG_RUNTIME_DIR": "r"},
			Dirs{"/h/.local/state/vmlaunch", "/h/.local/state/vmlaunch/run", "/h/.cache/vmlaunch", "/h/.config/vmlaunch/config.yaml", "/h/.config/vmlaunch/catalog.yaml"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := user(func(k string) string { return c.env[k] })
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
	if d, err := user(func(string) string { return "" }); err == nil {
		t.Errorf("without HOME: got %+v, want an error", d)
	}
}
