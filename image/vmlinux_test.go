package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseBzImage(t *testing.T) {
	good := bzImage("7.3.4+deb13-cloud-amd64", []byte("payload"), 7)
	h, err := parseBzImage(good)
	if err != nil {
		t.Fatal(err)
	}
	if h.version != "7.3.4+deb13-cloud-amd64" || string(good[h.offset:h.offset+7]) != "payload" || h.length != 7+4 {
		t.Errorf("got %+v", h)
	}
	old := bytes.Clone(good)
	binary.LittleEndian.PutUint16(old[bzProtocol:], 0x0207)
	nameless := bytes.Clone(good)
	binary.LittleEndian.PutUint16(nameless[bzKernelVersion:], 0)
	if h, err := parseBzImage(nameless); err != nil || h.version != "" {
		t.Errorf("no version: got %+v, %v", h, err)
	}
	for name, b := range map[string][]byte{"short": good[:0x210], "no magic": make([]byte, 4096), "old protocol": old} {
		if h, err := parseBzImage(b); err == nil {
			t.Errorf("%s: got %+v, want an error", name, h)
		}
	}
}

func TestKernelOfAFile(t *testing.T) {
	kernel := pvhKernel(t)
	noPVH := elfFixture{}.bytes(t)
	arm := elfFixture{machine: elf.EM_AARCH64}.bytes(t)
	tests := map[string]struct {
		content  []byte
		unpacked bool // boots from an ELF file in the cache
		err      string
	}{
		"zstd":             {bzImage("v1", pack(t, "zstd", kernel), len(kernel)), true, ""},
		"xz":               {bzImage("v1", pack(t, "xz", kernel), len(kernel)), true, ""},
		"gzip":             {bzImage("v1", pack(t, "gzip", kernel), len(kernel)), true, ""},
		"not packed":       {bzImage("v1", kernel, len(kernel)), true, ""},
		"lz4 as it is":     {bzImage("v1", []byte("\x02\x21\x4c\x18 legacy"), 9), false, ""},
		"no PVH as it is":  {bzImage("v1", pack(t, "zstd", noPVH), len(noPVH)), false, ""},
		"ELF as it is":     {kernel, false, ""},
		"ELF without PVH":  {noPVH, false, "no PVH entry point"},
		"ELF for arm":      {arm, false, "want x86-64"},
		"cut short":        {bzImage("v1", pack(t, "zstd", kernel), len(kernel))[:2100], false, "read payload"},
		"damaged":          {bzImage("v1", append(pack(t, "zstd", kernel)[:20], make([]byte, 40)...), len(kernel)), false, "unpack"},
		"neither":          {[]byte("#!/bin/sh\n"), false, "neither an ELF kernel nor an x86 bzImage"},
		"size is too high": {bzImage("v1", pack(t, "zstd", kernel), len(kernel)+1), false, "of"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := Open(t.TempDir())
			path := filepath.Join(t.TempDir(), "vmlinuz")
			if err := os.WriteFile(path, tt.content, 0o644); err != nil {
				t.Fatal(err)
			}
			k, err := c.Kernel(t.Context(), path)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || !strings.Contains(err.Error(), path) {
					t.Fatalf("got %+v, %v, want an error with %q and the path", k, err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if (k.Path != path) != tt.unpacked || k.Digest == "" || k.Ref != path {
				t.Errorf("got %+v", k)
			}
			if got, err := os.ReadFile(k.Path); tt.unpacked && (err != nil || !bytes.Equal(got, kernel)) {
				t.Errorf("unpacked %d bytes, %v, want the kernel's %d", len(got), err, len(kernel))
			}
		})
	}
}

func TestKernelReferences(t *testing.T) {
	c := Open(t.TempDir())
	for ref, want := range map[string]string{
		"nope":            `kernel "nope": file does not exist (want host, light, distro:VERSION or a path with a slash in it)`,
		"/no/such/kernel": `kernel "/no/such/kernel": open /no/such/kernel: no such file or directory`,
	} {
		if k, err := c.Kernel(t.Context(), ref); !errors.Is(err, os.ErrNotExist) || err.Error() != want {
			t.Errorf("got %+v, %v, want %q", k, err, want)
		}
	}
}

func TestHasNote(t *testing.T) {
	two := append(note("GNU", 3, []byte("12345")), note("Xen", 18, make([]byte, 8))...)
	huge := bytes.Clone(two)
	binary.LittleEndian.PutUint32(huge[4:], 1<<31)
	tests := map[string]struct {
		notes []byte
		want  bool
	}{
		"second":     {two, true},
		"other type": {note("Xen", 17, nil), false},
		"other name": {note("Xem", 18, nil), false},
		"cut off":    {two[:len(two)-10], false},
		"overflow":   {huge, false},
		"none":       {nil, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := hasNote(tt.notes, "Xen\x00", 18); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// cached puts a kernel into the cache as a fetch or build does.
func cached(t *testing.T, c *Cache, name string, e kernelEntry) {
	t.Helper()
	_, err := c.entry(t.Context(), kernelKind, name, func(tmp string) error {
		if err := os.Mkdir(tmp, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(tmp, vmlinuxName), pvhKernel(t), 0o644); err != nil {
			return err
		}
		return writeKernelEntry(tmp, e)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestCachedKernelsNeedNoNetwork: a reference that the cache can answer is
// answered from there, by the newest version.
func TestCachedKernelsNeedNoNetwork(t *testing.T) {
	fragment, err := lightFragment()
	if err != nil {
		t.Fatal(err)
	}
	c := Open(t.TempDir())
	for _, v := range []string{"7.3.10+deb13-cloud-amd64", "7.3.9+deb13-cloud-amd64", "7.30.1+deb13-cloud-amd64"} {
		cached(t, c, "distro-"+v+"-x", kernelEntry{Kernel: Kernel{Ref: "distro:" + v, Version: v, Path: vmlinuxName, Modules: "modules"}})
	}
	cached(t, c, "light-7.3-old", kernelEntry{Kernel: Kernel{Ref: refLight, Version: "9.9.9", Path: vmlinuxName}, Key: "another configuration"})
	cached(t, c, "light-7.3-new", kernelEntry{Kernel: Kernel{Ref: refLight, Version: "7.3.4-vmlaunch", Path: vmlinuxName}, Key: Digest(fragment)})
	for ref, version := range map[string]string{
		"distro:7.3": "7.3.10+deb13-cloud-amd64", "distro": "7.3.10+deb13-cloud-amd64",
		"distro:7.3.9": "7.3.9+deb13-cloud-amd64", "light": "7.3.4-vmlaunch",
	} {
		k, err := c.Kernel(t.Context(), ref)
		if err != nil || k.Version != version {
			t.Errorf("%s: got %q, %v, want %q", ref, k.Version, err, version)
			continue
		}
		if !strings.HasPrefix(k.Path, c.dir) || k.Modules != "" && !strings.HasPrefix(k.Modules, c.dir) {
			t.Errorf("%s: got paths %s and %s, want them in the cache", ref, k.Path, k.Modules)
		}
	}
	all, err := c.List(t.Context())
	if err != nil || len(all) != 5 || all[0].Kind != kernelKind || all[0].Version == "" || all[0].Bytes == 0 {
		t.Errorf("List: got %+v, %v, want the five kernels", all, err)
	}
}
