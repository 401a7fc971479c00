package netns

import (
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// FuzzRefPath asks that a reference leads to an absolute path, and that how it
// is stored leads there too.
func FuzzRefPath(f *testing.F) {
	f.Add("pid:7")
	pidPath := regexp.MustCompile(`^/proc/[1-9][0-9]*/ns/net$`)
	f.Fuzz(func(t *testing.T, ref string) {
		path, lasting, err := refPath(ref)
		if err != nil {
			if !errors.Is(err, ErrBadName) || path != "" {
				t.Errorf("%q: got %q, %v, want an ErrBadName and no path", ref, path, err)
			}
			return
		}
		if !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.ContainsRune(path, 0) {
			t.Errorf("%q: got %q", ref, path)
		}
		if strings.HasPrefix(ref, "pid:") && !pidPath.MatchString(path) {
			t.Errorf("%q: got %q, which is no process", ref, path)
		}
		if again, same, err := refPath(lasting); again != path || same != lasting || err != nil {
			t.Errorf("%q: %q leads to %q, %v, want %q", ref, lasting, again, err, path)
		}
	})
}

// FuzzMountinfoEscape asks that no path runs into the columns beside it, or into
// another line, and that no two paths look the same.
func FuzzMountinfoEscape(f *testing.F) {
	f.Add("/run/netns/a b\\")
	f.Fuzz(func(t *testing.T, path string) {
		got := mountinfoEscape(path)
		back := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(got)
		if strings.ContainsAny(got, " \t\n") || back != path {
			t.Errorf("%q: written as %q, read back as %q", path, got, back)
		}
	})
}
