package launcher

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vmlaunch/vmlaunch/configs"
)

// The helps of the virtiofsd of QEMU 7.2 in Debian 12, and of virtiofsd 1.10 and
// 1.13, as far as they matter.
const (
	helpClassic  = "    -o source=PATH             shared directory tree\n    --fd=FDNUM                 fd number of vhost-user socket\n"
	helpOld      = "      --shared-dir <SHARED_DIR>\n      --fd <FD>\n          File descriptor for the listening socket\n      --sandbox <SANDBOX>\n"
	helpReadOnly = helpOld + "      --readonly\n          Set the mount as read-only\n"
)

func TestReadHelp(t *testing.T) {
	for help, want := range map[string]virtiofsd{
		helpClassic: {classic: true}, helpOld: {}, helpReadOnly: {readOnly: true},
	} {
		if got, err := readHelp(help); err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	for _, help := range []string{"", "--shared-dir", "-o source=", "--fd only"} {
		if _, err := readHelp(help); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%q: got %v, want it unsupported", help, err)
		}
	}
}

func FuzzReadHelp(f *testing.F) {
	f.Add([]byte(helpReadOnly))
	f.Fuzz(func(t *testing.T, help []byte) {
		v, err := readHelp(string(help))
		if err != nil && (!errors.Is(err, errors.ErrUnsupported) || v != virtiofsd{}) || v.path != "" || v.classic && v.readOnly {
			t.Errorf("%q: got %+v, %v", help, v, err)
		}
	})
}

func FuzzReadDescriptor(f *testing.F) {
	f.Add([]byte(`{"description": "QEMU virtiofsd vhost-user-fs", "type": "fs", "binary": "/usr/lib/qemu/virtiofsd"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if path := readDescriptor(text); path != "" && (!filepath.IsAbs(path) || strings.ContainsRune(path, 0)) {
			t.Errorf("%q: the program is %q", text, path)
		}
	})
}

// TestDescribed reads descriptors in the order of their names; those of other
// devices and damaged ones say nothing.
func TestDescribed(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"50-fs.json": `{"type": "fs", "binary": "/usr/libexec/virtiofsd"}`, "10-gpu.json": `{"type": "gpu", "binary": "/gpu"}`,
		"20-fs.json": `{"type": "fs", "binary": "/opt/virtiofsd"}`, "30-fs.json": `{"type": "fs"`, "40.txt": `{"type": "fs", "binary": "/txt"}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff([]string{"/opt/virtiofsd", "/usr/libexec/virtiofsd"}, described(dir)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestVirtiofsdArgs(t *testing.T) {
	odd := configs.Mount{Host: "/a,b \\,c\n=", Guest: "/src"}
	ro := odd
	ro.ReadOnly = true
	for _, c := range []struct {
		name  string
		v     virtiofsd
		m     configs.Mount
		root  bool
		want  string
		folds bool // the folder is passed
	}{
		{"classic", virtiofsd{classic: true}, odd, true, `--fd=3|-f|-o|log_level=warn|-o|sandbox=namespace|-o|source=/a\,b \\\,c` + "\n=", false},
		{"classic, read-only", virtiofsd{classic: true}, ro, true, `--fd=3|-f|-o|log_level=warn|-o|sandbox=chroot|-o|source=/proc/self/fd/4/.`, true},
		{"root", virtiofsd{}, odd, true, "--fd=3|--shared-dir=/a,b \\,c\n=|--sandbox=namespace|--log-level=warn", false},
		{"user, read-only", virtiofsd{readOnly: true}, ro, false, "--fd=3|--shared-dir=/a,b \\,c\n=|--sandbox=none|--log-level=warn|--readonly", false},
	} {
		args, byFD := c.v.args(c.m, c.root)
		if got := strings.Join(args, "|"); got != c.want || byFD != c.folds {
			t.Errorf("%s: got %q, folder passed: %v, want %q", c.name, got, byFD, c.want)
		}
	}
}

// parseFuseOptions reads one of libfuse's lists as process_opt_sep_arg in its
// lib/fuse_opt.c does.
func parseFuseOptions(list string) []string {
	var options []string
	var one []byte
	for i := 0; i < len(list); i++ {
		switch {
		case list[i] == ',':
			options, one = append(options, string(one)), nil
			continue
		case list[i] == '\\' && i+1 < len(list):
			i++
			if i+2 < len(list) && list[i] >= '0' && list[i] <= '3' && list[i+1] >= '0' && list[i+1] <= '7' && list[i+2] >= '0' && list[i+2] <= '7' {
				one = append(one, (list[i]-'0')<<6+(list[i+1]-'0')<<3+list[i+2]-'0')
				i += 2
				continue
			}
		}
		one = append(one, list[i])
	}
	return append(options, string(one))
}

func FuzzFuseOption(f *testing.F) {
	f.Add(`/a,b\c\054`)
	f.Fuzz(func(t *testing.T, s string) {
		if d := cmp.Diff([]string{"source=" + s, "x"}, parseFuseOptions("source="+fuseOption(s)+",x")); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}
