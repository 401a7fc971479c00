package launcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vmlaunch/vmlaunch/configs"
)

// helpWait bounds a program's answer to --help: milliseconds, on a host that is
// not stuck.
const helpWait = 10 * time.Second

// A virtiofsd is one of the two programs of that name, or none.
type virtiofsd struct {
	path string // "" for none
	// classic is the one of QEMU up to 7.2, in C. It needs root, and can't share
	// read-only.
	classic  bool
	readOnly bool // has an option for it
}

// findVirtiofsd finds the virtiofsd of this host; there may be none. It fails if
// there is one that can't be used.
func findVirtiofsd(ctx context.Context) (virtiofsd, error) {
	path := lookVirtiofsd()
	if path == "" {
		return virtiofsd{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, helpWait)
	defer cancel()
	help, err := exec.CommandContext(ctx, path, "--help").CombinedOutput()
	if err != nil {
		return virtiofsd{}, fmt.Errorf("ask %s for its options: %w", path, err)
	}
	v, err := readHelp(string(help))
	if err != nil {
		return virtiofsd{}, fmt.Errorf("%s: %w", path, err)
	}
	v.path = path
	return v, nil
}

// readHelp tells from its help which virtiofsd it is. It fails with
// [errors.ErrUnsupported] if it is neither.
func readHelp(help string) (virtiofsd, error) {
	switch {
	case !strings.Contains(help, "--fd"):
	case strings.Contains(help, "-o source="):
		return virtiofsd{classic: true}, nil
	case strings.Contains(help, "--shared-dir"):
		return virtiofsd{readOnly: strings.Contains(help, "--readonly")}, nil
	}
	return virtiofsd{}, fmt.Errorf("a virtiofsd with unknown options: %w (--mount-type 9p)", errors.ErrUnsupported)
}

// lookVirtiofsd returns the path of virtiofsd, "" if there is none. It is no
// program for users, so it is seldom in PATH: distributions describe where theirs
// is, see docs/interop/vhost-user.rst in QEMU's source.
func lookVirtiofsd() string {
	if path, err := exec.LookPath("virtiofsd"); err == nil {
		if abs, err := filepath.Abs(path); err == nil {
			return abs
		}
	}
	paths := []string{"/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd"}
	for _, dir := range []string{"/usr/share/qemu/vhost-user", "/etc/qemu/vhost-user"} {
		paths = append(described(dir), paths...)
	}
	for _, path := range paths {
		if path, err := exec.LookPath(path); err == nil {
			return path
		}
	}
	return ""
}

// described returns the programs for file systems that the descriptors in dir
// name, first those that come first by name.
func described(dir string) []string {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil
	}
	slices.Sort(files)
	var paths []string
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil {
			if path := readDescriptor(text); path != "" {
				paths = append(paths, path)
			}
		}
	}
	return paths
}

// readDescriptor returns the program that a descriptor of a vhost-user back end
// names, "" if it is not one for file systems.
func readDescriptor(text []byte) string {
	var d struct{ Type, Binary string }
	if json.Unmarshal(text, &d) != nil || d.Type != "fs" || !filepath.IsAbs(d.Binary) || strings.ContainsRune(d.Binary, 0) {
		return ""
	}
	return d.Binary
}

// The descriptors that a virtiofsd inherits.
const (
	fdListen = 3 // the socket on which QEMU comes
	fdFolder = 4 // the folder, where its path won't do
)

// args returns the command line by which v serves m. It is a pure function. With
// byFD set the folder is to be passed as fdFolder.
func (v virtiofsd) args(m configs.Mount, root bool) (args []string, byFD bool) {
	args = []string{fmt.Sprintf("--fd=%d", fdListen)}
	if !v.classic {
		sandbox := "namespace"
		if !root { // a user's would need newuidmap, and namespaces that a host may forbid
			sandbox = "none"
		}
		args = append(args, "--shared-dir="+m.Host, "--sandbox="+sandbox, "--log-level=warn")
		if m.ReadOnly {
			args = append(args, "--readonly")
		}
		return args, false
	}
	sandbox, source := "namespace", m.Host
	if m.ReadOnly {
		// The folder is a mount of its own, read-only and in no namespace: it can't be
		// moved to the root of one, but be made the root of a process.
		sandbox, source = "chroot", fmt.Sprintf("/proc/self/fd/%d/.", fdFolder)
	}
	return append(args, "-f", "-o", "log_level=warn", "-o", "sandbox="+sandbox, "-o", "source="+fuseOption(source)), m.ReadOnly
}

// fuseOption returns s as a value in one of libfuse's lists of options: see
// process_opt_sep_arg in its lib/fuse_opt.c.
func fuseOption(s string) string {
	return strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(s)
}
