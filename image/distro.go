package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// distroKernel returns the newest kernel of this version prefix: one that the
// cache has, or else one from the distribution's packages. So it works without
// network once it has worked, and stays the same until [Cache.Build] or a
// removal asks for a newer one.
func (c *Cache) distroKernel(ctx context.Context, prefix string) (Kernel, error) {
	if prefix == "" {
		prefix = DefaultVersion
	}
	k, err := c.cachedDistro(prefix)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	return c.fetchDistro(ctx, prefix)
}

// cachedDistro returns the newest one in the cache, or [fs.ErrNotExist].
func (c *Cache) cachedDistro(prefix string) (Kernel, error) {
	all, err := c.kernels(refDistro + "-")
	if err != nil {
		return Kernel{}, err
	}
	all = slices.DeleteFunc(all, func(e kernelEntry) bool { return !versionMatches(e.Version, prefix) })
	if len(all) == 0 {
		return Kernel{}, fs.ErrNotExist
	}
	return slices.MaxFunc(all, func(a, b kernelEntry) int { return compareVersions(a.Version, b.Version) }).Kernel, nil
}

// fetchDistro looks through the suites for this version and fetches the newest
// kernel from the first that has one.
func (c *Cache) fetchDistro(ctx context.Context, prefix string) (Kernel, error) {
	all, err := systemSuites(ctx, prefix)
	if err != nil {
		return Kernel{}, err
	}
	var seen []string
	for _, s := range all {
		k, others, err := c.fetchFrom(ctx, s, prefix)
		if !errors.Is(err, fs.ErrNotExist) {
			return k, err
		}
		seen = append(seen, others...)
	}
	slices.SortFunc(seen, compareVersions)
	return Kernel{}, fmt.Errorf("%w in %s (there are: %s)", fs.ErrNotExist, suiteList(all), strings.Join(slices.Compact(seen), ", "))
}

// systemSuites returns where this machine's distribution has kernels of a
// version.
func systemSuites(ctx context.Context, version string) ([]suite, error) {
	text, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return nil, err
	}
	targets, err := systemTargets(ctx)
	if err != nil {
		return nil, err
	}
	return suites(parseRelease(string(text)), targets, version)
}

func suiteList(all []suite) string {
	var names []string
	for _, s := range all {
		names = append(names, s.name)
	}
	return strings.Join(names, ", ")
}

// fetchFrom fetches the newest kernel with this prefix from one suite. If there
// is none it returns [fs.ErrNotExist] and the versions that there are.
func (c *Cache) fetchFrom(ctx context.Context, s suite, prefix string) (k Kernel, others []string, err error) {
	c.progress("looking for a %s kernel in %s", prefix, s.name)
	a, done, err := c.openApt(ctx, s)
	if err != nil {
		return Kernel{}, nil, err
	}
	defer done()
	names, err := a.search(ctx, packagePattern(prefix))
	if err != nil {
		return Kernel{}, nil, err
	}
	version, packages := chooseKernel(names, prefix)
	if version == "" {
		if names, err = a.search(ctx, packagePattern("")); err == nil {
			err = fs.ErrNotExist
		}
		return Kernel{}, kernelVersions(names), err
	}
	pkgs, err := a.show(ctx, packages...)
	if err != nil {
		return Kernel{}, nil, err
	}
	var parts []string
	for _, p := range pkgs {
		parts = append(parts, p.name, p.version, p.sha256)
	}
	sum := Digest(parts...)
	name := fmt.Sprintf("%s-%s-%s", refDistro, version, sum)
	_, err = c.entry(ctx, kernelKind, name, func(tmp string) error {
		c.progress("fetching kernel %s", version)
		return c.unpackKernel(ctx, a, tmp, pkgs, Kernel{Ref: refDistro + ":" + version, Version: version, Digest: sum})
	})
	if err != nil {
		return Kernel{}, nil, fmt.Errorf("fetch kernel %s: %w", version, err)
	}
	e, err := c.readKernelEntry(name)
	return e.Kernel, nil, err
}

// unpackKernel makes the folder dir an entry of the cache from packages: the
// kernel ready to boot, its modules as they were packed, kernel.json.
func (c *Cache) unpackKernel(ctx context.Context, a *apt, dir string, pkgs []pkg, k Kernel) error {
	root, err := a.unpack(ctx, dir, pkgs)
	if err != nil {
		return err
	}
	image, modules, err := findKernel(root, k.Version)
	if err != nil {
		return err
	}
	if k.Path, err = keepBootable(image, dir); err != nil {
		return err
	}
	k.Modules = "modules"
	if err := os.Rename(modules, filepath.Join(dir, k.Modules)); err != nil {
		return err
	}
	if err := os.RemoveAll(root); err != nil {
		return err
	}
	return writeKernelEntry(dir, kernelEntry{Kernel: k, Package: pkgs[0].name + "=" + pkgs[0].version})
}

// findKernel returns the image and the modules' folder in unpacked packages.
func findKernel(root, version string) (image, modules string, err error) {
	for _, dir := range []string{"usr/lib/modules", "lib/modules"} {
		if m := filepath.Join(root, dir, version); exists(filepath.Join(m, "kernel")) {
			modules = m
		}
	}
	for _, path := range []string{filepath.Join(modules, "vmlinuz"), filepath.Join(root, "boot/vmlinuz-"+version)} {
		if exists(path) {
			return path, modules, nil
		}
	}
	return "", "", fmt.Errorf("kernel %s in its packages: %w", version, fs.ErrNotExist)
}

// keepBootable puts into dir what QEMU boots fastest of the bzImage: the ELF
// kernel inside of it, or else the image as it is. It returns the file's name.
func keepBootable(image, dir string) (string, error) {
	head, err := readHead(image)
	if err != nil {
		return "", err
	}
	h, err := parseBzImage(head)
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, vmlinuxName)
	err = unpack(image, h, out)
	if err == nil {
		var ok bool
		if ok, err = bootsByPVH(out); err != nil || ok {
			return vmlinuxName, err
		}
	}
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return "", err
	}
	if err := os.RemoveAll(out); err != nil {
		return "", err
	}
	return "vmlinuz", os.Rename(image, filepath.Join(dir, "vmlinuz"))
}
