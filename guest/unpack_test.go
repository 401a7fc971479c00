package guest

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A leaf is what is compared of one file of a tree.
type leaf struct {
	Mode fs.FileMode
	Text string // content, or where a link leads
	Time time.Time
}

// tree reads all below dir.
func tree(t *testing.T, dir string) map[string]leaf {
	t.Helper()
	all := map[string]leaf{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		l := leaf{Mode: info.Mode(), Time: info.ModTime().UTC()}
		var text []byte
		switch {
		case info.Mode().IsRegular():
			text, err = os.ReadFile(path)
			l.Text = string(text)
		case info.Mode()&fs.ModeSymlink != 0:
			l.Text, err = os.Readlink(path)
			l.Time = time.Time{} // not kept: nobody looks at it
		}
		name, rerr := filepath.Rel(dir, path)
		all[name] = l
		return errors.Join(err, rerr)
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// plant makes a tree of all kinds of files, at a time long ago.
func plant(t *testing.T, dir string) {
	t.Helper()
	long := strings.Repeat("long-name-", 20)
	files := map[string]fs.FileMode{
		"plain": 0o644, "secret": 0o600, "program": 0o755, "two words": 0o644, "-rf": 0o644, "line\nbreak": 0o644, "ü€": 0o640,
		"sub/" + long + "/" + long + "/" + long: 0o444,
	}
	for name, mode := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("this is "+name), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // whatever the umask
			t.Fatal(err)
		}
	}
	err := errors.Join(
		os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600),
		os.Symlink("plain", filepath.Join(dir, "link")),
		os.Symlink("/no/such", filepath.Join(dir, "dangling")),
		os.Mkdir(filepath.Join(dir, "closed"), 0o700),
		os.WriteFile(filepath.Join(dir, "closed/file"), []byte("x"), 0o600),
		os.Chmod(filepath.Join(dir, "closed"), 0o500),
	)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1e9, 0)
	for name, l := range tree(t, dir) {
		if l.Mode&fs.ModeSymlink == 0 {
			if err := os.Chtimes(filepath.Join(dir, name), at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func openRoot(t *testing.T) (*os.Root, string) {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root, dir
}

// TestTreeComesBack packs and unpacks, twice into the same place.
func TestTreeComesBack(t *testing.T) {
	from := t.TempDir()
	plant(t, from)
	root, to := openRoot(t)
	for range 2 {
		var archive bytes.Buffer
		if err := packAll(packer{tar.NewWriter(&archive), nil}, "copy", []string{from}); err != nil {
			t.Fatal(err)
		}
		if err := unpack(tar.NewReader(&archive), root, "copy"); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(tree(t, from), tree(t, filepath.Join(to, "copy"))); d != "" {
			t.Errorf("want - got +:\n%s", d)
		}
	}
}

func TestHolesComeBack(t *testing.T) {
	root, to := openRoot(t)
	const size = 64 << 20
	text := make([]byte, size)
	copy(text[size/2+100:], "in the middle")
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	err := errors.Join(w.WriteHeader(&tar.Header{Name: "disk", Mode: 0o600, Size: size}), writeAll(w, text), w.Close(),
		unpack(tar.NewReader(&archive), root, "disk"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(to, "disk"))
	if err != nil || !bytes.Equal(got, text) {
		t.Errorf("%d bytes (%v), want the same %d", len(got), err, size)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(filepath.Join(to, "disk"), &st); err != nil || st.Blocks*512 > 1<<20 {
		t.Errorf("it takes %d bytes (%v), want it full of holes", st.Blocks*512, err)
	}
}

func writeAll(w *tar.Writer, b []byte) error { _, err := w.Write(b); return err }

// TestArchiveStaysInside unpacks what only a hostile guest sends, beside a folder
// that must not change.
func TestArchiveStaysInside(t *testing.T) {
	file := func(name string) *tar.Header { return &tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg} }
	link := func(name, to string) *tar.Header {
		return &tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink}
	}
	tests := map[string]struct {
		entries []*tar.Header
		refused bool
	}{
		"parent":               {[]*tar.Header{file("../victim/new")}, true},
		"deep parent":          {[]*tar.Header{file("a/../../victim/new")}, true},
		"absolute":             {[]*tar.Header{file("OUTSIDE/new")}, true}, // the first part is the top, the others are not there
		"through a link":       {[]*tar.Header{link("top/a", "../../victim"), file("top/a/new")}, true},
		"through absolute":     {[]*tar.Header{link("top/a", "OUTSIDE"), file("top/a/new")}, true},
		"onto a link":          {[]*tar.Header{link("top/a", "../../victim/file"), file("top/a")}, false}, // takes its place
		"folder over a link":   {[]*tar.Header{link("top/a", "../../victim"), {Name: "top/a/", Mode: 0o777, Typeflag: tar.TypeDir}}, true},
		"hard link out":        {[]*tar.Header{{Name: "top", Linkname: "../victim/file", Typeflag: tar.TypeLink}}, true},
		"hard link absolute":   {[]*tar.Header{{Name: "top", Linkname: "OUTSIDE/file", Typeflag: tar.TypeLink}}, true},
		"hard link and write":  {[]*tar.Header{link("top/a", "../../victim/file"), {Name: "top/b", Linkname: "top/a", Typeflag: tar.TypeLink}, file("top/b")}, false},
		"device":               {[]*tar.Header{{Name: "top", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}}, true},
		"pipe":                 {[]*tar.Header{{Name: "top", Typeflag: tar.TypeFifo}}, true},
		"top is the parent":    {[]*tar.Header{file("..")}, true},
		"name of another file": {[]*tar.Header{file("victim")}, false}, // is called top here
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			outside, inner := filepath.Join(parent, "victim"), filepath.Join(parent, "in")
			if err := errors.Join(os.Mkdir(outside, 0o700), os.Mkdir(inner, 0o700), os.Mkdir(filepath.Join(inner, "top"), 0o700),
				os.WriteFile(filepath.Join(outside, "file"), []byte("precious"), 0o600)); err != nil {
				t.Fatal(err)
			}
			if tt.refused && len(tt.entries) == 1 || !strings.Contains(tt.entries[0].Name, "top/") {
				_ = os.Remove(filepath.Join(inner, "top"))
			}
			before := tree(t, outside)
			var archive bytes.Buffer
			w := tar.NewWriter(&archive)
			for _, h := range tt.entries {
				h.Name, h.Linkname = strings.ReplaceAll(h.Name, "OUTSIDE", outside), strings.ReplaceAll(h.Linkname, "OUTSIDE", outside)
				if err := w.WriteHeader(h); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			root, err := os.OpenRoot(inner)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			if err := unpack(tar.NewReader(&archive), root, "top"); (err != nil) != tt.refused {
				t.Errorf("got %v, want it refused: %v", err, tt.refused)
			}
			if d := cmp.Diff(before, tree(t, outside)); d != "" {
				t.Errorf("outside changed (before - after +):\n%s", d)
			}
		})
	}
}

func TestSetUserIDIsNotTaken(t *testing.T) {
	root, to := openRoot(t)
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "su", Mode: 0o6755, Typeflag: tar.TypeReg}), w.Close(),
		unpack(tar.NewReader(&archive), root, "su")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(to, "su")); err != nil || info.Mode() != 0o755 {
		t.Errorf("mode is %v (%v), want 0755", info.Mode(), err)
	}
}

// FuzzUnpack sends what it likes: nothing may appear outside.
func FuzzUnpack(f *testing.F) {
	f.Fuzz(func(t *testing.T, archive []byte) {
		parent := t.TempDir()
		inner := filepath.Join(parent, "in")
		if err := os.Mkdir(inner, 0o700); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(inner)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		_ = unpack(tar.NewReader(bytes.NewReader(archive)), root, "top") // refused or not
		entries, err := os.ReadDir(parent)
		if err != nil || len(entries) != 1 {
			t.Errorf("outside: %v, %v", entries, err)
		}
		entries, err = os.ReadDir(inner)
		if err != nil || len(entries) > 1 || len(entries) == 1 && entries[0].Name() != "top" {
			t.Errorf("beside the top: %v, %v", entries, err)
		}
	})
}
