// Package paths says where vmlaunch keeps its files.
package paths

import (
	"fmt"
	"os"
	"path/filepath"
)

// Dirs are the three folders of one installation, and the file with its settings.
// They are absolute paths and may not exist yet.
type Dirs struct {
	State string // records and logs: survives a reboot
	Run   string // sockets and files of running machines: worthless after one
	Cache string // may be deleted at any time

	Settings string // the file: written by people only
	Catalog  string // the same, with the disk images that can be pulled by name
}

// The names of the files that people write.
const (
	settingsName = "config.yaml"
	catalogName  = "catalog.yaml"
)

// Resolve returns the folders below root, or, with root empty, the system's for
// the root user and those of the XDG base directory specification for others.
// It creates nothing. It fails if root can't be made absolute, or if a user has
// no home directory to put them in, or a relative one.
func Resolve(root string) (Dirs, error) {
	if root != "" {
		abs, err := filepath.Abs(root)
		if err != nil {
			return Dirs{}, fmt.Errorf("resolve root %q: %w", root, err)
		}
		return Dirs{
			State: filepath.Join(abs, "state"),
			Run:   filepath.Join(abs, "run"),
			Cache: filepath.Join(abs, "cache"),

			Settings: filepath.Join(abs, settingsName),
			Catalog:  filepath.Join(abs, catalogName),
		}, nil
	}
	if os.Geteuid() == 0 {
		return Dirs{
			State: "/var/lib/vmlaunch", Run: "/run/vmlaunch", Cache: "/var/cache/vmlaunch",
			Settings: "/etc/vmlaunch/" + settingsName,
			Catalog:  "/etc/vmlaunch/" + catalogName,
		}, nil
	}
	return user(os.Getenv)
}

// user returns the XDG folders. Without XDG_RUNTIME_DIR (no login session) the
// run folder lies in the state folder: records of an earlier boot are told by
// their boot id, so nothing there is taken for alive.
func user(getenv func(string) string) (Dirs, error) {
	home := getenv("HOME")
	base := func(env, fallback string) string {
		// The specification: "relative paths are invalid and to be ignored".
		if v := getenv(env); filepath.IsAbs(v) {
			return filepath.Join(v, "vmlaunch")
		}
		if !filepath.IsAbs(home) {
			return ""
		}
		return filepath.Join(home, fallback, "vmlaunch")
	}
	d := Dirs{
		State: base("XDG_STATE_HOME", ".local/state"),
		Cache: base("XDG_CACHE_HOME", ".cache"),

		Settings: filepath.Join(base("XDG_CONFIG_HOME", ".config"), settingsName),
	}
	if d.State == "" || d.Cache == "" || d.Settings == settingsName {
		return Dirs{}, fmt.Errorf("choose folders: no absolute HOME in the environment (name one: --root DIR)")
	}
	d.Catalog = filepath.Join(filepath.Dir(d.Settings), catalogName)
	d.Run = filepath.Join(d.State, "run")
	if v := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(v) {
		d.Run = filepath.Join(v, "vmlaunch")
	}
	return d, nil
}
