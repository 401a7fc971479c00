package netns

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// runDir is where names are pinned. iproute2 says /var/run/netns, which is the
// same place.
const runDir = "/run/netns"

// ownPath leads to the namespace of the main thread, which never leaves the one
// that the process started in. The calling thread may be elsewhere.
const ownPath = "/proc/self/ns/net"

// ErrBadName says that a namespace can't have, or no file can have, a name.
var ErrBadName = errors.New("not a name for a network namespace")

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,63}$`)

// ValidName returns nil if Create may give a namespace this name, and an
// [ErrBadName] that says why not otherwise.
func ValidName(name string) error {
	if nameForm.MatchString(name) {
		return nil
	}
	return fmt.Errorf("netns %q: %w (want 1 to 64 of a-z 0-9 _ . -, a letter or digit first)", name, ErrBadName)
}

// pinPath returns the path of the pin called name. It takes every name that
// `ip netns add` can have made, and none that leads out of /run/netns: it
// fails with [ErrBadName].
func pinPath(name string) (string, error) {
	bad := name == "" || name == "." || name == ".." || len(name) > unix.NAME_MAX || strings.ContainsAny(name, "/\x00")
	if bad {
		return "", fmt.Errorf("netns %q: %w", name, ErrBadName)
	}
	return runDir + "/" + name, nil
}

// refPath returns the path of the namespace file that ref means, by the rules
// told at [Open], and how to say ref so that it means the same in any working
// directory. It looks at no file. Containers have no path: see [container.pid].
func refPath(ref string) (path, lasting string, err error) {
	if ref == "" {
		return ownPath, ref, nil
	}
	if digits, ok := strings.CutPrefix(ref, "pid:"); ok {
		pid, err := strconv.ParseInt(digits, 10, 32)
		if err != nil || pid < 1 {
			return "", "", fmt.Errorf("netns %q: %w (want pid: and a process id)", ref, ErrBadName)
		}
		return fmt.Sprintf("/proc/%d/ns/net", pid), ref, nil
	}
	if strings.Contains(ref, "/") {
		if strings.ContainsRune(ref, 0) {
			return "", "", fmt.Errorf("netns %q: %w", ref, ErrBadName)
		}
		path, err = filepath.Abs(ref)
		return path, path, err
	}
	path, err = pinPath(ref)
	return path, ref, err
}

// chooseRef decides what an open namespace is called from now on: by the name, or
// the container, it was opened by, else empty if this process is at home in it and that is
// the host's first namespace, else by the first of its names, else empty at
// home, else by the path or pid it was opened by.
//
// A process that was started by `ip netns exec blue` thus says "blue", which
// leads there later and from elsewhere too, and not "".
func chooseRef(given string, own, first bool, names []string) string {
	if strings.HasPrefix(given, containerPrefix) {
		return given // which leads to the container of then, not to the namespace of now
	}
	for _, name := range names {
		if name == given {
			return given
		}
	}
	switch {
	case own && first:
		return ""
	case len(names) > 0:
		return names[0]
	case own:
		return ""
	}
	return given
}
