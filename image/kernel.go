package image

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// The kernel references that are words. A version follows refDistro after a
// colon; a reference with a slash in it is a file.
const (
	refHost   = "host"
	refLight  = "light"
	refDistro = "distro"
)

// DefaultVersion is the kernel that "distro" means: the newest one known to
// have vsock namespaces and to boot our guests.
const DefaultVersion = "7.3"

// A Kernel is one that a guest can boot.
type Kernel struct {
	Ref     string `json:"ref"`     // as it can be asked for again
	Version string `json:"version"` // uname -r in the guest; "" when the file doesn't tell
	Path    string `json:"path"`    // an ELF vmlinux that boots by PVH, else the bzImage
	Modules string `json:"modules"` // the folder that has kernel/ in it; "" when there is none
	Digest  string `json:"digest"`  // of the kernel and its modules
}

// Kernel returns the kernel that ref names, building or fetching it if the
// cache doesn't have it. "" prefers what costs nothing: the host's own kernel,
// then the light one if it was built, then the distribution's. It fails with
// [fs.ErrNotExist] when there is no such kernel, and with a [*MissingError]
// when this machine has no way to get it.
func (c *Cache) Kernel(ctx context.Context, ref string) (Kernel, error) {
	var k Kernel
	var err error
	word, version, _ := strings.Cut(ref, ":")
	switch {
	case ref == "":
		return c.chooseKernel(ctx)
	case strings.Contains(ref, "/"):
		k, err = c.fileKernel(ctx, ref, "")
	case ref == refHost:
		k, err = c.hostKernel(ctx)
	case ref == refLight:
		k, err = c.lightKernel(ctx)
	case word == refDistro:
		k, err = c.distroKernel(ctx, version)
	default:
		err = fmt.Errorf("%w (want %s, %s, %s:VERSION or a path with a slash in it)", fs.ErrNotExist, refHost, refLight, refDistro)
	}
	if err != nil {
		return Kernel{}, fmt.Errorf("kernel %q: %w", ref, err)
	}
	return k, nil
}

func (c *Cache) chooseKernel(ctx context.Context) (Kernel, error) {
	k, herr := c.hostKernel(ctx)
	if herr == nil {
		return k, nil
	}
	if k, ok, err := c.cachedLight(); err == nil && ok {
		return k, nil
	}
	k, err := c.distroKernel(ctx, DefaultVersion)
	if err != nil {
		return Kernel{}, fmt.Errorf("choose kernel: host: %w; %s: not built; %s: %w", herr, refLight, refDistro, err)
	}
	return k, nil
}

// hostKernel returns the kernel that this machine runs, if its image and its
// modules can be read here. In a container they often can't.
func (c *Cache) hostKernel(ctx context.Context) (Kernel, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Kernel{}, fmt.Errorf("uname: %w", err)
	}
	version := unix.ByteSliceToString(u.Release[:])
	modules := "/lib/modules/" + version
	if _, err := os.Stat(filepath.Join(modules, "modules.dep")); err != nil {
		return Kernel{}, fmt.Errorf("modules of the running kernel: %w", err)
	}
	// /boot by custom; beside the modules in newer distributions.
	path := "/boot/vmlinuz-" + version
	if !exists(path) {
		path = filepath.Join(modules, "vmlinuz")
	}
	k, err := c.fileKernel(ctx, path, modules)
	k.Ref = refHost
	return k, err
}

// fileKernel returns the kernel in the file path, with its payload unpacked if
// that boots directly. Modules default to those installed for its version.
func (c *Cache) fileKernel(ctx context.Context, path, modules string) (Kernel, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return Kernel{}, err
	}
	sum, err := digestFile(path)
	if err != nil {
		return Kernel{}, err
	}
	k := Kernel{Ref: path, Path: path, Modules: modules, Digest: sum}
	head, err := readHead(path)
	switch {
	case err != nil:
		return Kernel{}, err
	case bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		if ok, err := bootsByPVH(path); err != nil {
			return Kernel{}, err
		} else if !ok {
			return Kernel{}, fmt.Errorf("%s: no PVH entry point (want CONFIG_PVH=y, or the bzImage): %w", path, errors.ErrUnsupported)
		}
		return k, nil
	}
	h, err := parseBzImage(head)
	if err != nil {
		return Kernel{}, fmt.Errorf("%s: %w", path, err)
	}
	k.Version = h.version
	if k.Path, err = c.vmlinux(ctx, path, sum, h); err != nil {
		return Kernel{}, err
	}
	if dir := "/lib/modules/" + k.Version; k.Modules == "" && k.Version != "" && exists(filepath.Join(dir, "kernel")) {
		k.Modules = dir
	}
	return k, nil
}

// A kernelEntry is kernel.json in an entry of the cache: the kernel with its
// paths taken relative to the entry, and the package it came from.
type kernelEntry struct {
	Kernel
	Package string `json:"package,omitempty"` // NAME=VERSION
	Key     string `json:"key,omitempty"`     // what a lookup without network compares
}

const (
	kernelKind  = "kernel"
	kernelFile  = "kernel.json"
	vmlinuxName = "vmlinux"
)

func writeKernelEntry(dir string, e kernelEntry) error {
	b, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, kernelFile), append(b, '\n'), 0o644)
}

// readKernelEntry reads an entry and makes its paths absolute.
func (c *Cache) readKernelEntry(name string) (kernelEntry, error) {
	dir := filepath.Join(c.dir, kernelKind, name)
	b, err := os.ReadFile(filepath.Join(dir, kernelFile))
	if err != nil {
		return kernelEntry{}, err
	}
	var e kernelEntry
	if err := json.Unmarshal(b, &e); err != nil {
		return kernelEntry{}, fmt.Errorf("%s/%s: %w (remove the folder to fetch it again)", dir, kernelFile, err)
	}
	if !filepath.IsLocal(e.Path) || e.Modules != "" && !filepath.IsLocal(e.Modules) {
		return kernelEntry{}, fmt.Errorf("%s/%s: kernel %q with modules %q: want them in the folder (remove the folder to fetch it again)", dir, kernelFile, e.Path, e.Modules)
	}
	e.Path = filepath.Join(dir, e.Path)
	if e.Modules != "" {
		e.Modules = filepath.Join(dir, e.Modules)
	}
	return e, nil
}

// kernels returns the entries whose name begins with prefix.
func (c *Cache) kernels(prefix string) ([]kernelEntry, error) {
	names, err := c.entries(kernelKind)
	if err != nil {
		return nil, err
	}
	var all []kernelEntry
	for _, name := range names {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		e, err := c.readKernelEntry(name)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}
