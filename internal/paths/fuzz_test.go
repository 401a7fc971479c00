package paths

import (
	"path/filepath"
	"testing"
)

// FuzzUser asks that no environment leads to a folder that depends on where
// vmlaunch is called.
func FuzzUser(f *testing.F) {
	f.Add("/home/u", "", "", "/run/user/1000")
	f.Fuzz(func(t *testing.T, home, state, cache, run string) {
		env := map[string]string{"HOME": home, "XDG_STATE_HOME": state, "XDG_CACHE_HOME": cache, "XDG_RUNTIME_DIR": run}
		d, err := user(func(name string) string { return env[name] })
		if err != nil {
			if d != (Dirs{}) {
				t.Errorf("%q: got %+v with %v", env, d, err)
			}
			return
		}
		for _, dir := range []string{d.State, d.Run, d.Cache} {
			if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
				t.Errorf("%q: got %+v, want absolute paths", env, d)
			}
		}
	})
}
