package image

import (
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

// FuzzUnpack unpacks what calls itself a kernel image. What comes out is as long
// as the image says, and what is not there is not waited for in memory.
func FuzzUnpack(f *testing.F) {
	for _, how := range []string{"zstd", "xz", "gzip", "none"} {
		f.Add(bzImage("v1", pack(f, how, []byte("\x7fELF and so on")), 14))
	}
	f.Fuzz(func(t *testing.T, image []byte) {
		h, err := parseBzImage(image)
		if err != nil {
			return
		}
		dir := tree(t, map[string]string{"image": string(image)})
		out := filepath.Join(dir, "out")
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		uerr := unpack(filepath.Join(dir, "image"), h, out)
		runtime.ReadMemStats(&after)
		end := h.offset + h.length
		if took := after.TotalAlloc - before.TotalAlloc; end > int64(len(image)) && (uerr == nil || took > 16<<20) {
			t.Errorf("%+v from %d bytes: %v, with %d bytes of memory", h, len(image), uerr, took)
		}
		if uerr != nil {
			return
		}
		st, err := os.Stat(out)
		if err != nil {
			t.Fatal(err)
		}
		size := image[end-4 : end]
		if want := int64(size[0]) | int64(size[1])<<8 | int64(size[2])<<16 | int64(size[3])<<24; st.Size() != want {
			t.Errorf("got %d bytes, want %d", st.Size(), want)
		}
	})
}

// FuzzHasNote asks that a note is found only where its owner's name is, and
// whatever stands behind it.
func FuzzHasNote(f *testing.F) {
	f.Add(append(note("GNU", 3, []byte("id")), note("Xen", pvhNote, make([]byte, 8))...))
	f.Fuzz(func(t *testing.T, b []byte) {
		found := hasNote(b, "Xen\x00", pvhNote)
		if found && !bytes.Contains(b, []byte("Xen\x00")) {
			t.Errorf("% x: a note of Xen's was found", b)
		}
		if found && !hasNote(append(bytes.Clone(b), "more"...), "Xen\x00", pvhNote) {
			t.Errorf("% x: is lost with more behind it", b)
		}
		if before := note("any", 1, b); len(b) <= 1<<16 && !hasNote(append(before, note("Xen", pvhNote, nil)...), "Xen\x00", pvhNote) {
			t.Errorf("% x: is not found behind that", b)
		}
	})
}

// FuzzELF reads one ELF file as all that we take for one: a kernel, a module,
// and a program with its libraries.
func FuzzELF(f *testing.F) {
	f.Add(pvhKernel(f))
	f.Add([]byte(module(f, "name=vhost-vsock", "depends=vhost,vsock", "softdep=pre: a post: b/c-d.ko")))
	f.Add(elfFixture{interp: "/lib64/ld.so", dynamic: [][2]any{{elf.DT_NEEDED, "libc.so"}, {elf.DT_RUNPATH, "$ORIGIN::/lib"}}}.bytes(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(tree(t, map[string]string{"a.elf": string(b)}), "a.elf")
		if ok, err := bootsByPVH(path); ok && (err != nil || !bytes.Contains(b, []byte("Xen\x00"))) {
			t.Errorf("boots, with %v and no note", err)
		}
		m, err := parseModule(b)
		if err == nil {
			checkNames(t, m)
		}
		libs, err := librariesIn(nil, path)
		if err != nil && !strings.Contains(err.Error(), "librar") {
			t.Errorf("got %v, want it to say of what", err)
		}
		for _, l := range libs {
			if l.Path == "" || l.Path != l.From || strings.ContainsRune(l.Path, 0) {
				t.Errorf("library %+v", l)
			}
		}
	})
}

// FuzzParseModinfo reads what a module says about itself.
func FuzzParseModinfo(f *testing.F) {
	f.Add([]byte("name=vhost-vsock\x00depends=vhost,vmw-vsock\x00softdep=pre: a post: b\x00alias=x\x00"))
	f.Fuzz(func(t *testing.T, b []byte) { checkNames(t, parseModinfo(b)) })
}

// checkNames asks that every name is one under which a module can be found.
func checkNames(t *testing.T, m modinfo) {
	t.Helper()
	for _, name := range slices.Concat(m.depends, m.pre, m.post) {
		if name == "" || name != moduleName(name) {
			t.Errorf("%+v: name %q is no module's", m, name)
		}
	}
	for _, alias := range m.aliases {
		if alias == "" || strings.ContainsRune(alias, 0) {
			t.Errorf("%+v: alias %q", m, alias)
		}
	}
}

// FuzzReadModule unpacks modules by the ending of their name: one that can't be
// is named, and nothing of it used.
func FuzzReadModule(f *testing.F) {
	for _, how := range []string{"zstd", "xz"} {
		f.Add(pack(f, how, []byte("a module")))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := tree(t, map[string]string{"m.ko": string(b), "m.ko.xz": string(b), "m.ko.zst": string(b)})
		for _, name := range []string{"m.ko", "m.ko.xz", "m.ko.zst"} {
			got, err := readModule(filepath.Join(dir, name))
			if err != nil && (got != nil || !strings.Contains(err.Error(), "/"+name)) {
				t.Errorf("%s: got %q, %v, want the path in it", name, got, err)
			}
			if plain := name == "m.ko"; plain && !bytes.Equal(got, b) || !plain && len(b) > 0 && err == nil && bytes.Equal(got, b) {
				t.Errorf("%s: got %q from %q", name, got, b)
			}
		}
	})
}

// FuzzOpenModules reads the lists that depmod writes. What is listed is had, and
// what can't be read is an error of the documented kind.
func FuzzOpenModules(f *testing.F) {
	f.Add("kernel/net/vsock.ko.xz: kernel/a.ko\n", "kernel/virtio-pci.ko\n", "vsock")
	f.Fuzz(func(t *testing.T, dep, builtin, name string) {
		m, err := OpenModules(tree(t, map[string]string{"modules.dep": dep, "modules.builtin": builtin}))
		if err != nil {
			if m != nil || len(dep)+len(builtin) < 1<<16 {
				t.Errorf("got %v, %v", m, err)
			}
			return
		}
		for line := range strings.Lines(builtin) {
			if line = strings.TrimRight(line, "\r\n"); !m.Has(line) {
				t.Errorf("%q is built in, and not had", line)
			}
		}
		for name, path := range m.files {
			if moduleName(path) != name || strings.ContainsAny(path, ":\n") || !strings.Contains(dep, path) {
				t.Errorf("%q: at %q", name, path)
			}
		}
		mods, err := m.Order(name)
		if (err == nil) != (m.builtin[moduleName(name)] && m.files[moduleName(name)] == "") {
			t.Errorf("order of %q: got %v, %v; there are no files", name, mods, err)
		}
	})
}

// FuzzModuleIndex asks that modprobe, and we, find what is in the index. Order
// has refused circles before.
func FuzzModuleIndex(f *testing.F) {
	f.Add([]byte("name=a\x00depends=b\x00alias=net-pf-40\x00"), []byte("depends=a\x00"))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		a, b := parseModinfo(one), parseModinfo(two)
		a.depends, b.depends = []string{"b"}, nil
		mods := []Module{{Name: "a", Path: "kernel/a.ko", info: a}, {Name: "b", Path: "kernel/b.ko", info: b}}
		dep, alias := moduleIndex(mods)
		m, err := OpenModules(tree(t, map[string]string{"modules.dep": dep}))
		want := map[string]string{"a": "kernel/a.ko", "b": "kernel/b.ko"}
		if d := cmp.Diff(want, m.files); err != nil || d != "" {
			t.Errorf("%v, from %q (-want +got):\n%s", err, dep, d)
		}
		for line := range strings.Lines(alias) {
			if w := strings.Split(strings.TrimSuffix(line, "\n"), " "); len(w) != 3 || w[0] != "alias" || want[w[2]] == "" {
				t.Errorf("%q: line %q", alias, line)
			}
		}
	})
}

// FuzzArchive writes a file of any name and reads it as the kernel does.
func FuzzArchive(f *testing.F) {
	f.Add("/usr/bin/tool", []byte("content"), "../bin")
	f.Fuzz(func(t *testing.T, name string, content []byte, link string) {
		var b bytes.Buffer
		a := NewArchive(&b)
		a.File(name, 0o644, content)
		a.Link("zz-link", link)
		if err := a.Close(); err != nil {
			return
		}
		if name = clean(name); strings.ContainsRune(name, 0) || len(name) >= 4096 {
			t.Errorf("%q: is written, and the kernel takes it for another name or none", name)
		}
		all := readCPIO(t, b.Bytes())
		i := slices.IndexFunc(all, func(e cpioEntry) bool { return e.Name == name })
		if i < 0 || all[i].Content != string(content) || all[i].Mode != 0o100644 {
			t.Errorf("%q: not among %+v", name, all)
		}
		if last := all[len(all)-1]; last.Name != "zz-link" || last.Content != link {
			t.Errorf("%q: the last one is %+v", name, last)
		}
		for _, e := range all {
			if e.Name == "" || e.Name != clean(e.Name) {
				t.Errorf("%q: has an entry %q", name, e.Name)
			}
		}
	})
}

// FuzzConfDirs reads an ld.so.conf that may include itself, as INCLUDES SELF.
func FuzzConfDirs(f *testing.F) {
	f.Add("/opt/a # why\n")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "/") && strings.Contains(text, "include") {
			return // other files of this host
		}
		path := filepath.Join(t.TempDir(), "ld.so.conf")
		text = strings.ReplaceAll(text, "SELF", path)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		dirs := confDirs(path)
		if len(dirs) > strings.Count(text, "\n")+1 {
			t.Errorf("%q: got %d folders", text, len(dirs))
		}
		for _, dir := range dirs {
			if dir == "" || dir != strings.TrimSpace(dir) || strings.ContainsAny(dir, "#\n") {
				t.Errorf("%q: got %q", text, dir)
			}
		}
	})
}

// FuzzKernelEntry reads kernel.json: a kernel lies in its own entry of the
// cache, and the entry comes back the same.
func FuzzKernelEntry(f *testing.F) {
	f.Add([]byte(`{"ref": "light", "version": "7.3.4", "path": "vmlinux", "modules": "modules", "digest": "d", "key": "k"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := tree(t, map[string]string{"kernel/e/kernel.json": string(text)})
		c := Open(dir)
		e, err := c.readKernelEntry("e")
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) || e != (kernelEntry{}) || !strings.Contains(err.Error(), "remove the folder") {
				t.Errorf("%q: got %+v, %v", text, e, err)
			}
			return
		}
		entry := filepath.Join(dir, "kernel/e")
		rel := e
		for _, p := range []*string{&rel.Path, &rel.Modules} {
			if *p == "" {
				continue
			}
			if *p, err = filepath.Rel(entry, *p); err != nil || !filepath.IsLocal(*p) {
				t.Errorf("%q: %q is not in the entry", text, *p)
			}
		}
		if err := writeKernelEntry(entry, rel); err != nil {
			t.Fatal(err)
		}
		if again, err := c.readKernelEntry("e"); err != nil || again != e {
			t.Errorf("%q: written and read again it is %+v, %v", text, again, err)
		}
	})
}

// FuzzLineWriter asks for the same lines however a program's output is cut.
func FuzzLineWriter(f *testing.F) {
	f.Add([]byte("a\nb\nrest"), uint8(3))
	f.Fuzz(func(t *testing.T, text []byte, cut uint8) {
		var got []string
		w := lineWriter{line: func(s string) { got = append(got, s) }}
		at := min(int(cut), len(text))
		for _, part := range [][]byte{text[:at], text[at:]} {
			if n, err := io.Copy(&w, bytes.NewReader(part)); int(n) != len(part) || err != nil {
				t.Errorf("wrote %d, %v", n, err)
			}
		}
		want := strings.Split(string(text), "\n")
		if want = want[:len(want)-1]; !slices.Equal(got, want) {
			t.Errorf("%q, cut at %d: got %q", text, at, got)
		}
	})
}

// FuzzLastWords asks for one line, with no more than was asked for.
func FuzzLastWords(f *testing.F) {
	f.Add("E: one\n\nE: two\r\n", uint8(1))
	f.Fuzz(func(t *testing.T, text string, n uint8) {
		got := tail(text, int(n))
		if strings.ContainsRune(got, '\n') || len(got) > 2*len(text) || got != strings.TrimSpace(got) {
			t.Errorf("%q: got %q", text, got)
		}
		if n == 1 && !strings.Contains(text, got) || n == 0 && got != "" {
			t.Errorf("%q, the last %d: got %q", text, n, got)
		}
	})
}

// FuzzParseBzImage asks that a version can be a folder's name and be printed.
func FuzzParseBzImage(f *testing.F) {
	f.Add(bzImage("1", []byte("payload"), 7))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseBzImage(b)
		if err != nil {
			return
		}
		if h.offset <= 0 || h.length < 0 {
			t.Errorf("got %+v from % x", h, b)
		}
		if strings.ContainsRune(h.version, '/') || h.version == ".." || strings.ContainsFunc(h.version, unicode.IsControl) {
			t.Errorf("got version %q", h.version)
		}
	})
}
