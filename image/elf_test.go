package image

import (
	"debug/elf"
	"errors"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

func TestLibrariesFollowTheLinkersSearch(t *testing.T) {
	lib := func(dynamic ...[2]any) string {
		return string(elfFixture{dynamic: append([][2]any{}, dynamic...)}.bytes(t))
	}
	needs := func(name string) [2]any { return [2]any{elf.DT_NEEDED, name} }
	runpath := func(path string) [2]any { return [2]any{elf.DT_RUNPATH, path} }
	rpath := func(path string) [2]any { return [2]any{elf.DT_RPATH, path} }
	dir := tree(t, map[string]string{
		"std/libc.so":        lib(),
		"std/liba.so":        lib(needs("libc.so"), needs("libb.so")),
		"std/libb.so":        lib(needs("libc.so")),
		"own/libb.so":        lib(needs("libc.so")),
		"own/libown.so":      lib(needs("libhidden.so")),
		"own/libhidden.so":   lib(),
		"arm/libx.so":        string(elfFixture{machine: elf.EM_AARCH64}.bytes(t)),
		"std/libx.so":        lib(),
		"text/libx.so":       "GROUP ( libx.so )",
		"bin/plain":          lib(needs("liba.so")),
		"bin/runpath":        lib(needs("libb.so"), runpath("$ORIGIN/../own")),
		"bin/runpath-hidden": lib(needs("libown.so"), runpath("$ORIGIN/../own")),
		"bin/rpath-hidden":   lib(needs("libown.so"), rpath("${ORIGIN}/../own")),
		"bin/wrong":          lib(needs("libx.so"), runpath("$ORIGIN/../arm:$ORIGIN/../text")),
		"bin/missing":        lib(needs("libnone.so")),
		"bin/static":         string(elfFixture{}.bytes(t)),
		"bin/linker":         string(elfFixture{interp: "/lib64/ld.so", dynamic: [][2]any{needs("libc.so")}}.bytes(t)),
	})
	std := func(names ...string) (paths []string) {
		for _, n := range names {
			paths = append(paths, filepath.Join(dir, n))
		}
		return paths
	}
	tests := map[string]struct {
		want    []string
		missing string
	}{
		"plain":          {want: std("std/liba.so", "std/libb.so", "std/libc.so")},
		"runpath":        {want: std("own/libb.so", "std/libc.so")},
		"runpath-hidden": {missing: "libhidden.so"}, // DT_RUNPATH is not inherited
		"rpath-hidden":   {want: std("own/libhidden.so", "own/libown.so")},
		"wrong":          {want: std("std/libx.so")},
		"missing":        {missing: "libnone.so"},
		"static":         {},
		"linker":         {want: append([]string{"/lib64/ld.so"}, std("std/libc.so")...)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			libs, err := librariesIn(std("std"), filepath.Join(dir, "bin", name))
			if tt.missing != "" {
				if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "library "+tt.missing) {
					t.Fatalf("got %v, want that %s does not exist", err, tt.missing)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, l := range libs {
				got = append(got, l.Path)
			}
			slices.Sort(tt.want)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestConfDirs(t *testing.T) {
	dir := tree(t, map[string]string{
		"conf.d/a.conf": "/opt/a # why\n",
		"conf.d/b.conf": "# nothing\n\n/opt/b\n",
	})
	dir2 := tree(t, map[string]string{"ld.so.conf": "/opt/first\ninclude " + dir + "/conf.d/*.conf\n"})
	got := confDirs(filepath.Join(dir2, "ld.so.conf"))
	if want := []string{"/opt/first", "/opt/a", "/opt/b"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := confDirs("/no/such/file"); got != nil {
		t.Errorf("no file: got %q, want none", got)
	}
}

// TestLibrariesOfQEMU asks the real linker, by ldd, about the largest program
// that we put in a nest.
func TestLibrariesOfQEMU(t *testing.T) {
	testenv.Require(t, testenv.QEMU)
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ldd", qemu).Output()
	if err != nil {
		t.Fatal(err)
	}
	libs, err := Libraries(qemu)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, l := range libs {
		got[filepath.Base(l.Path)] = true
	}
	want := 0
	for line := range strings.Lines(string(out)) {
		name := filepath.Base(strings.Fields(line)[0])
		if strings.HasPrefix(name, "linux-vdso") {
			continue
		}
		want++
		if !got[name] {
			t.Errorf("ldd finds %s, we don't", name)
		}
	}
	if len(got) != want {
		t.Errorf("got %d libraries, ldd has %d", len(got), want)
	}
}
