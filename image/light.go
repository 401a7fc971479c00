package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// The light kernel is for guests that run under nested emulation, where a stock
// kernel needs minutes to boot. It is built from the distribution's kernel
// source: tinyconfig plus the fragment light.config.

// lightSource is the package with the source.
const lightSource = "linux-source-" + DefaultVersion

const buildHint = "try: apt-get install build-essential flex bison bc libelf-dev xz-utils"

// lightKernel returns the light kernel, built if the cache has none. The build
// takes some ten minutes on two CPUs.
func (c *Cache) lightKernel(ctx context.Context) (Kernel, error) {
	if k, ok, err := c.cachedLight(); err != nil || ok {
		return k, err
	}
	return c.makeLight(ctx)
}

// lightFragment returns the configuration that this program builds with,
// without its comments: they are no reason to build anew.
func lightFragment() (string, error) {
	b, err := embedded.ReadFile("light.config")
	if err != nil {
		return "", err
	}
	return optionLines(string(b)), nil
}

// optionLines returns the lines of a configuration that set something.
func optionLines(config string) string {
	var b strings.Builder
	for line := range strings.Lines(config) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// cachedLight returns the newest light kernel in the cache that was built with
// this program's configuration, whatever source version it is from: that can't
// be asked for without network.
func (c *Cache) cachedLight() (Kernel, bool, error) {
	fragment, err := lightFragment()
	if err != nil {
		return Kernel{}, false, err
	}
	all, err := c.kernels(refLight + "-")
	if err != nil {
		return Kernel{}, false, err
	}
	all = slices.DeleteFunc(all, func(e kernelEntry) bool { return e.Key != Digest(fragment) })
	if len(all) == 0 {
		return Kernel{}, false, nil
	}
	return slices.MaxFunc(all, func(a, b kernelEntry) int { return compareVersions(a.Version, b.Version) }).Kernel, true, nil
}

// makeLight builds the light kernel from the newest source package.
func (c *Cache) makeLight(ctx context.Context) (Kernel, error) {
	if err := canBuild(); err != nil {
		return Kernel{}, err
	}
	fragment, err := lightFragment()
	if err != nil {
		return Kernel{}, err
	}
	a, source, done, err := c.findSource(ctx)
	if err != nil {
		return Kernel{}, err
	}
	defer done()
	sum := Digest(source.version, fragment)
	name := fmt.Sprintf("%s-%s-%s", refLight, DefaultVersion, sum)
	_, err = c.entry(ctx, kernelKind, name, func(tmp string) error {
		c.progress("fetching %s %s", source.name, source.version)
		root, err := a.unpack(ctx, tmp, []pkg{source})
		done() // others may use the client while we build
		if err != nil {
			return err
		}
		b := lightBuild{cache: c, root: root, dir: tmp, fragment: fragment}
		k, err := b.run(ctx)
		if err != nil {
			return err
		}
		k.Digest = sum
		return writeKernelEntry(tmp, kernelEntry{Kernel: k, Package: source.name + "=" + source.version, Key: Digest(fragment)})
	})
	if err != nil {
		return Kernel{}, fmt.Errorf("build from %s: %w", source.name, err)
	}
	e, err := c.readKernelEntry(name)
	return e.Kernel, err
}

// canBuild fails with a [*MissingError] for what the build lacks here.
func canBuild() error {
	err := need("build the light kernel", buildHint, "make", "gcc", "ld", "strip", "flex", "bison", "bc", "tar", "xz", "awk")
	if !exists("/usr/include/gelf.h") && !exists("/usr/include/libelf/gelf.h") {
		err = errors.Join(err, &MissingError{What: "gelf.h", Need: "build the light kernel", Hint: buildHint})
	}
	return err
}

// findSource returns the kernel's source package and the client that has it.
// The caller calls done when it has it.
func (c *Cache) findSource(ctx context.Context) (a *apt, source pkg, done func(), err error) {
	all, err := systemSuites(ctx, DefaultVersion)
	if err != nil {
		return nil, pkg{}, nil, err
	}
	for _, s := range all {
		c.progress("looking for %s in %s", lightSource, s.name)
		a, done, err := c.openApt(ctx, s)
		if err != nil {
			return nil, pkg{}, nil, err
		}
		names, err := a.search(ctx, strings.ReplaceAll(lightSource, ".", `\.`))
		if err == nil && len(names) == 1 {
			pkgs, err := a.show(ctx, lightSource)
			if err == nil {
				return a, pkgs[0], done, nil
			}
		}
		done()
		if err != nil {
			return nil, pkg{}, nil, err
		}
	}
	return nil, pkg{}, nil, fmt.Errorf("package %s: %w in %s", lightSource, fs.ErrNotExist, suiteList(all))
}

// A lightBuild is one build in the folder of a cache entry to be.
type lightBuild struct {
	cache    *Cache
	root     string // unpacked source package
	dir      string // of the entry
	fragment string
}

// run builds the kernel, leaves it in the folder as vmlinux, and removes all
// else.
func (b lightBuild) run(ctx context.Context) (Kernel, error) {
	src := filepath.Join(b.dir, "src")
	if err := b.extract(ctx, src); err != nil {
		return Kernel{}, err
	}
	if err := b.configure(ctx, src); err != nil {
		return Kernel{}, err
	}
	k, err := b.compile(ctx, src)
	if err != nil {
		return Kernel{}, err
	}
	return k, errors.Join(os.RemoveAll(src), os.RemoveAll(b.root))
}

// compile builds the configured source and leaves the result in the folder.
func (b lightBuild) compile(ctx context.Context, src string) (Kernel, error) {
	if _, err := b.make(ctx, src, fmt.Sprintf("-j%d", runtime.NumCPU()), "vmlinux"); err != nil {
		return Kernel{}, err
	}
	version, err := b.make(ctx, src, "-s", "kernelrelease") // whole only after the build
	if err != nil {
		return Kernel{}, err
	}
	out := filepath.Join(b.dir, vmlinuxName)
	strip := tool{args: []string{"strip", "-s", "-o", out, filepath.Join(src, "vmlinux")}, hint: buildHint}
	if _, err := strip.run(ctx); err != nil {
		return Kernel{}, err
	}
	if ok, err := bootsByPVH(out); err != nil || !ok {
		return Kernel{}, fmt.Errorf("built kernel can't be booted directly: %w", errors.Join(err, errors.ErrUnsupported))
	}
	return Kernel{Ref: refLight, Version: strings.TrimSpace(version), Path: vmlinuxName}, nil
}

// extract unpacks the source's archive, which is inside the package.
func (b lightBuild) extract(ctx context.Context, src string) error {
	archive := filepath.Join(b.root, "usr/src", lightSource+".tar.xz")
	if err := os.Mkdir(src, 0o755); err != nil {
		return err
	}
	b.cache.progress("unpacking %s", lightSource)
	tar := tool{args: []string{"tar", "-xf", archive, "-C", src, "--strip-components=1"}, hint: buildHint}
	if _, err := tar.run(ctx); err != nil {
		return err
	}
	return os.Remove(archive)
}

// configure makes the configuration and checks that nothing in the fragment was
// dropped: the kernel's build does that silently when an option was renamed or
// what it depends on is off.
func (b lightBuild) configure(ctx context.Context, src string) error {
	fragment := filepath.Join(b.dir, "light.config")
	if err := os.WriteFile(fragment, []byte(b.fragment), 0o644); err != nil {
		return err
	}
	if _, err := b.make(ctx, src, "-s", "tinyconfig"); err != nil {
		return err
	}
	merge := tool{args: []string{"scripts/kconfig/merge_config.sh", "-m", ".config", fragment}, dir: src, hint: buildHint}
	merge.args[0] = filepath.Join(src, merge.args[0])
	if _, err := merge.run(ctx); err != nil {
		return err
	}
	if _, err := b.make(ctx, src, "-s", "olddefconfig"); err != nil {
		return err
	}
	config, err := os.ReadFile(filepath.Join(src, ".config"))
	if err != nil {
		return err
	}
	if lost := lostOptions(b.fragment, string(config)); len(lost) > 0 {
		return fmt.Errorf("kernel configuration: %s dropped %s", lightSource, strings.Join(lost, ", "))
	}
	return os.Remove(fragment)
}

// lostOptions returns the lines of the fragment that the configuration doesn't
// follow. NAME=n asks that NAME is not set, or not known.
func lostOptions(fragment, config string) []string {
	set := map[string]string{}
	for line := range strings.Lines(optionLines(config)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		set[name] = value
	}
	var lost []string
	for line := range strings.Lines(optionLines(fragment)) {
		line = strings.TrimSpace(line)
		name, value, _ := strings.Cut(line, "=")
		if value == "n" {
			value = ""
		}
		if set[name] != value {
			lost = append(lost, line)
		}
	}
	return lost
}

// make runs the kernel's make. Two builds of one source give the same bytes.
func (b lightBuild) make(ctx context.Context, src string, args ...string) (string, error) {
	t := tool{
		args: append([]string{"make", "-C", src, "ARCH=x86_64"}, args...),
		hint: buildHint, need: "build the light kernel",
		env: []string{"KBUILD_BUILD_TIMESTAMP=1970-01-01", "KBUILD_BUILD_USER=vmlaunch", "KBUILD_BUILD_HOST=vmlaunch"},
	}
	files := 0
	t.line = func(line string) {
		// "  CC      net/socket.o" for each of some 800 files
		if strings.HasPrefix(line, "  CC  ") {
			if files++; files%100 == 0 {
				b.cache.progress("compiling the light kernel: %d files", files)
			}
		}
	}
	out, err := t.run(ctx)
	return string(out), err
}
