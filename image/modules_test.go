package image

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseModinfo(t *testing.T) {
	text := "license=GPL\x00name=vhost-vsock\x00depends=vhost,vmw-vsock\x00alias=char-major-10-241\x00alias=devname:vhost-vsock\x00" +
		"softdep=pre: a b post: c-d\x00depends=\x00junk\x00"
	want := modinfo{
		name: "vhost_vsock", depends: []string{"vhost", "vmw_vsock"},
		aliases: []string{"char-major-10-241", "devname:vhost-vsock"},
		pre:     []string{"a", "b"}, post: []string{"c_d"},
	}
	if diff := cmp.Diff(want, parseModinfo([]byte(text)), cmp.AllowUnexported(modinfo{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestModuleName(t *testing.T) {
	for in, want := range map[string]string{
		"kernel/drivers/vhost/vhost-vsock.ko.xz": "vhost_vsock",
		"vsock.ko":                               "vsock",
		"virtio-pci":                             "virtio_pci",
		"a.b/c.ko.zst":                           "c",
	} {
		if got := moduleName(in); got != want {
			t.Errorf("moduleName(%q) = %q, want %q", in, got, want)
		}
	}
}

// vsockTree is a tree as a package has it: no modules.dep, packed in three ways.
func vsockTree(t *testing.T, extra map[string]string) *Modules {
	t.Helper()
	files := map[string]string{
		"kernel/net/vsock.ko":                    module(t, "name=vsock", "depends=", "alias=net-pf-40"),
		"kernel/net/virtio_common.ko.zst":        string(pack(t, "zstd", []byte(module(t, "name=virtio_common", "depends=vsock")))),
		"kernel/drivers/vhost/vhost.ko":          module(t, "name=vhost", "depends=iotlb"),
		"kernel/drivers/vhost/iotlb.ko":          module(t, "name=iotlb", "depends="),
		"kernel/drivers/vhost/vhost-vsock.ko.xz": string(pack(t, "xz", []byte(module(t, "name=vhost_vsock", "depends=virtio_common,vhost,vsock", "softdep=pre: crc missing post: late")))),
		"kernel/lib/crc.ko":                      module(t, "name=crc", "depends="),
		"kernel/lib/late.ko":                     module(t, "name=late", "depends=", "softdep=pre: vhost_vsock"),
		"modules.builtin":                        "kernel/drivers/virtio/virtio_pci.ko\n",
	}
	for name, content := range extra {
		files[name] = content
	}
	m, err := OpenModules(tree(t, files))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func moduleNames(mods []Module) []string {
	var names []string
	for _, m := range mods {
		names = append(names, m.Name)
	}
	return names
}

func TestOrder(t *testing.T) {
	m := vsockTree(t, map[string]string{
		"kernel/bad/a.ko": module(t, "name=a", "depends=b"),
		"kernel/bad/b.ko": module(t, "name=b", "depends=a"),
		"kernel/bad/c.ko": module(t, "name=c", "depends=nowhere"),
	})
	tests := map[string]struct {
		names []string
		want  []string
		err   string
	}{
		"with all it needs":  {[]string{"vhost-vsock"}, []string{"vsock", "virtio_common", "iotlb", "vhost", "crc", "vhost_vsock", "late"}, ""},
		"nothing twice":      {[]string{"vsock", "virtio_common", "vsock"}, []string{"vsock", "virtio_common"}, ""},
		"built in":           {[]string{"virtio_pci"}, nil, ""},
		"unknown":            {[]string{"nope"}, nil, "module nope: file does not exist"},
		"needs an unknown":   {[]string{"c"}, nil, "module nowhere: file does not exist in " + m.dir + ", needed by c"},
		"circle":             {[]string{"a"}, nil, "module a: depends on itself by way of a, b"},
		"circle of the soft": {[]string{"late"}, []string{"vsock", "virtio_common", "iotlb", "vhost", "crc", "vhost_vsock", "late"}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			mods, err := m.Order(tt.names...)
			if tt.err == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("got error %v, want %q", err, tt.err)
			}
			if got := moduleNames(mods); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if !m.Has("vhost_vsock") || !m.Has("virtio-pci") || m.Has("nope") {
		t.Error("Has does not tell files and built-in modules from others")
	}
}

func TestOrderGivesUnpackedModules(t *testing.T) {
	mods, err := vsockTree(t, nil).Order("vhost_vsock")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mods {
		if !bytes.HasPrefix(m.Content, []byte("\x7fELF")) || !strings.HasSuffix(m.Path, ".ko") {
			t.Errorf("%s: path %s, content begins %q: want an unpacked .ko", m.Name, m.Path, m.Content[:4])
		}
	}
}

// TestInstalledTreeIsNotWalked takes modules.dep at its word, as a host has it.
func TestInstalledTreeIsNotWalked(t *testing.T) {
	m := vsockTree(t, map[string]string{"modules.dep": "kernel/net/vsock.ko:\nkernel/net/virtio_common.ko.zst: kernel/net/vsock.ko\n"})
	if m.Has("vhost_vsock") {
		t.Error("a module was found that modules.dep does not list")
	}
	mods, err := m.Order("virtio_common")
	if got := moduleNames(mods); err != nil || !slices.Equal(got, []string{"vsock", "virtio_common"}) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestModuleIndex(t *testing.T) {
	mods, err := vsockTree(t, nil).Order("vhost_vsock")
	if err != nil {
		t.Fatal(err)
	}
	dep, alias := moduleIndex(mods)
	want := "kernel/drivers/vhost/vhost-vsock.ko: kernel/drivers/vhost/vhost.ko kernel/drivers/vhost/iotlb.ko kernel/net/virtio_common.ko kernel/net/vsock.ko\n"
	if !strings.Contains(dep, want) {
		t.Errorf("modules.dep: got\n%swant a line\n%s", dep, want)
	}
	if alias != "alias net-pf-40 vsock\n" {
		t.Errorf("modules.alias: got %q", alias)
	}
}

func TestBrokenModuleIsAnError(t *testing.T) {
	for name, content := range map[string]string{
		"kernel/x.ko":     "no elf",
		"kernel/x.ko.xz":  "no xz",
		"kernel/x.ko.zst": "no zstd",
		"kernel/x.ko.br":  "unknown",
	} {
		if mods, err := vsockTree(t, map[string]string{name: content}).Order("x"); err == nil || !strings.Contains(err.Error(), filepath.Base(name)) {
			t.Errorf("%s: got %v, %v, want an error that names it", name, mods, err)
		}
	}
	if _, err := OpenModules("/no/such"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: got %v, want ErrNotExist", err)
	}
	unreadable := tree(t, nil)
	if err := os.Mkdir(filepath.Join(unreadable, "modules.dep"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenModules(unreadable); err == nil {
		t.Error("a modules.dep that can't be read is no error")
	}
}
