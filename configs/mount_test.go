package configs

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseMount(t *testing.T) {
	for text, want := range map[string]Mount{
		"src:/src":               {Host: "src", Guest: "/src"},
		"./src:/src:ro":          {Host: "./src", Guest: "/src", ReadOnly: true},
		"/a:/b:rw":               {Host: "/a", Guest: "/b"},
		"/a:/b/c:/d":             {Host: "/a:/b/c", Guest: "/d"},
		"a:ro:/b":                {Host: "a:ro", Guest: "/b"},
		"a:/b:ro:rw":             {Host: "a", Guest: "/b:ro"},
		"a:/b:c":                 {Host: "a", Guest: "/b:c"},
		"-x, 'y' \"z\"\n\\:/b d": {Host: "-x, 'y' \"z\"\n\\", Guest: "/b d"},
		"a:/b/../c":              {Host: "a", Guest: "/b/../c"}, // Validate says what is wrong with it
	} {
		if got, err := ParseMount(text); err != nil || got != want {
			t.Errorf("%q: got %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "a", "/a", ":/b", "a:b", "a:ro", ":/a:ro", "a:"} {
		_, err := ParseMount(text)
		if _, ok := errors.AsType[*FieldError](err); !ok {
			t.Errorf("%q: got %v, want a FieldError", text, err)
		}
	}
}

// FuzzParseMount asks that what is accepted is read back from its own form.
func FuzzParseMount(f *testing.F) {
	for _, s := range []string{"a:/b", "a:/b:ro", "a:/b:/c:rw", "a:/b:ro:ro"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseMount(s)
		if err != nil {
			return
		}
		if !strings.HasPrefix(s, m.Host+":"+m.Guest) || m.Host == "" || !strings.HasPrefix(m.Guest, "/") {
			t.Errorf("%q: read as %+v", s, m)
		}
		if again, err := ParseMount(m.String()); err != nil || again != m {
			t.Errorf("%q: %q is read as %+v, %v, want %+v", s, m.String(), again, err, m)
		}
	})
}

func TestValidateMounts(t *testing.T) {
	mounts := func(all ...Mount) func(*Machine) { return func(m *Machine) { m.Mounts = all } }
	const target = "want the guest's folder as an absolute path without . .. // and NUL bytes"
	for _, c := range []struct {
		name string
		edit func(*Machine)
		want []string
	}{
		{"fine", func(m *Machine) {
			m.MountType, m.Mounts = Mount9p, []Mount{{Host: "/a:,'\n", Guest: "/b ,\n:c"}, {Host: "/a", Guest: "/devices", ReadOnly: true}}
		}, nil},
		{"several at once", mounts(Mount{Host: "a", Guest: "b"}, Mount{Host: "/a", Guest: "/b"}, Mount{Host: "/c", Guest: "/b"}), []string{
			`mount "a:b": want an absolute path, of UTF-8 without NUL bytes`, `mount "a:b": ` + target, `mount "/c:/b": "/b" is there twice`,
		}},
		{"leads out", mounts(Mount{Host: "/a", Guest: "/b/../c"}), []string{`mount "/a:/b/../c": ` + target}},
		{"the root", mounts(Mount{Host: "/a", Guest: "/"}), []string{`mount "/a:/": the guest has its own /`}},
		{"the kernel's", mounts(Mount{Host: "/a", Guest: "/proc/1"}), []string{`mount "/a:/proc/1": /proc is the guest kernel's`}},
		{"NUL", mounts(Mount{Host: "/a", Guest: "/b\x00"}), []string{`mount "/a:/b\x00": ` + target}},
		{"type", func(m *Machine) { m.MountType = "nfs" }, []string{`mount-type "nfs": want virtiofs or 9p`}},
		{"too many", mounts(make([]Mount, maxMounts+1)...), nil},
		{"probe", func(m *Machine) {
			*m = Machine{Name: "web", Image: ImageProbe, Mounts: []Mount{{Host: "/a", Guest: "/b"}}}
			m.Default()
		}, []string{`mount "/a:/b": the probe guest has no files`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := Machine{Name: "web"}
			m.Default()
			c.edit(&m)
			err := m.Validate()
			if c.name == "too many" {
				if err == nil || !strings.HasPrefix(err.Error(), `mount "17": want at most 16`) {
					t.Errorf("got %v", err)
				}
				return
			}
			var got []string
			if err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}
