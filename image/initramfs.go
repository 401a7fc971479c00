package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/vmlaunch/vmlaunch/internal/agentconfig"
)

// A Boot is what a linux guest is started with.
type Boot struct {
	Kernel  string   // an ELF vmlinux, or a bzImage
	Initrd  string   // the base; [Cache.MachineInitrd] adds the machine's own part
	Modules []string // paths in the guest, in load order: agentconfig.Config.Modules
}

// guestModules is what a guest needs to be reached: the bus, then the socket.
// Everything else that is loaded they ask for themselves.
func guestModules() []string { return []string{"virtio_pci", "vmw_vsock_virtio_transport"} }

// Linux returns what the built-in linux guest boots from with kernel k. Its
// initramfs holds the agent as init, busybox, and the modules that k needs to
// be reached over vsock, and those of the names in modules. It fails with a
// [*MissingError] without an agent in this build or busybox on this machine, and
// with [fs.ErrNotExist] if the kernel has no such module.
func (c *Cache) Linux(ctx context.Context, k Kernel, modules ...string) (Boot, error) {
	agent, err := Agent()
	if err != nil {
		return Boot{}, err
	}
	shell, err := Busybox()
	if err != nil {
		return Boot{}, err
	}
	var mods []Module
	if k.Modules != "" {
		tree, err := OpenModules(k.Modules)
		if err != nil {
			return Boot{}, err
		}
		if mods, err = tree.Order(append(guestModules(), modules...)...); err != nil {
			return Boot{}, fmt.Errorf("guest with kernel %s: %w", k.Version, err)
		}
	}
	paths := ModulePaths(k.Version, mods)
	key := Digest("linux guest 2", Digest(string(agent)), shell.Digest, k.Digest, strings.Join(paths, " "))
	initrd, err := c.Initrd(ctx, key, func(a *Archive) error {
		a.Base(agent)
		shell.Add(a)
		a.Modules(k.Version, mods)
		return nil
	})
	if err != nil {
		return Boot{}, fmt.Errorf("build initramfs: %w", err)
	}
	return Boot{Kernel: k.Path, Initrd: initrd, Modules: paths}, nil
}

// Initrd returns the path of the archive that key names, written by fill if the
// cache doesn't have it. The key is a [Digest] of all that fill adds. It fails
// with fill's error, or the archive's, and leaves nothing then.
func (c *Cache) Initrd(ctx context.Context, key string, fill func(*Archive) error) (string, error) {
	return c.entry(ctx, "initrd", key+".cpio", func(tmp string) error { return writeArchive(tmp, fill) })
}

// MachineInitrd writes a machine's initramfs to w: the base as it is, then a
// second archive with the agent's configuration, which only root can read in
// the guest. The kernel unpacks one after the other. It fails if cfg is not
// valid, if the base can't be read (fs.ErrNotExist: it was removed from the
// cache, build it anew), and with w's error.
func (c *Cache) MachineInitrd(w io.Writer, base string, cfg agentconfig.Config) error {
	if err := appendFile(w, base); err != nil {
		return fmt.Errorf("write initramfs: %w", err)
	}
	a := NewArchive(w)
	if err := a.Config(cfg); err != nil {
		return fmt.Errorf("write initramfs: %w", err)
	}
	return a.Close()
}

func appendFile(w io.Writer, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// writeArchive makes the file at path an archive of what fill adds.
func writeArchive(path string, fill func(*Archive) error) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	a := NewArchive(f)
	if err := fill(a); err != nil {
		return err
	}
	return a.Close()
}

// Base adds what every guest of ours has: the agent as init, the console, the
// folders it mounts on, and the least that programs expect in /etc.
func (a *Archive) Base(agent []byte) {
	a.Device("dev/console", 0o600, [2]uint32{5, 1}) // the kernel opens it for init
	a.Device("dev/null", 0o666, [2]uint32{1, 3})
	for _, dir := range []string{"proc", "sys", "dev", "run", "mnt", "var/log", "var/lib", "var/tmp"} {
		a.Dir(dir, 0o755)
	}
	a.Dir("tmp", 0o1777)
	a.Dir("root", 0o700)
	a.Dir("etc/vmlaunch", 0o700)
	a.File("init", 0o755, agent)
	a.File("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\n"))
	a.File("etc/group", 0o644, []byte("root:x:0:\n"))
	a.File("etc/hosts", 0o644, []byte("127.0.0.1 localhost\n::1 localhost\n"))
	a.File("etc/os-release", 0o644, []byte("ID=vmlaunch\nPRETTY_NAME=\"vmlaunch built-in guest\"\n"))
	a.File("etc/profile", 0o644, []byte("export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root\nPS1='\\h:\\w\\$ '\n"))
}

// Config adds the agent's configuration. It fails if cfg is not valid.
func (a *Archive) Config(cfg agentconfig.Config) error {
	var b strings.Builder
	if err := cfg.Write(&b); err != nil {
		return err
	}
	a.Dir(path.Dir(agentconfig.Path), 0o700)
	a.File(agentconfig.Path, 0o600, []byte(b.String()))
	return nil
}

// Modules adds modules for kernel version, with the index that modprobe reads.
func (a *Archive) Modules(version string, mods []Module) {
	if len(mods) == 0 {
		return
	}
	dir := moduleDir(version)
	for _, m := range mods {
		a.File(path.Join(dir, m.Path), 0o644, m.Content)
	}
	dep, alias := moduleIndex(mods)
	a.File(path.Join(dir, "modules.dep"), 0o644, []byte(dep))
	a.File(path.Join(dir, "modules.alias"), 0o644, []byte(alias))
}

// CachedKernel adds k to the cache that lies at dir in the archive, so that it
// can be asked for there with the same reference. It has to come from a cache
// itself: host kernels and files can't be had by their names elsewhere.
func (a *Archive) CachedKernel(dir string, k Kernel) {
	entry := filepath.Dir(k.Path)
	if !exists(filepath.Join(entry, kernelFile)) && a.err == nil {
		a.err = fmt.Errorf("kernel %s: want one from the cache: %w", k.Ref, errors.ErrUnsupported)
	}
	a.Tree(path.Join(dir, kernelKind, filepath.Base(entry)), entry)
}

// ModulePaths returns where [Archive.Modules] puts the modules.
func ModulePaths(version string, mods []Module) []string {
	paths := make([]string, len(mods))
	for i, m := range mods {
		paths[i] = path.Join(moduleDir(version), m.Path)
	}
	return paths
}

func moduleDir(version string) string { return "/lib/modules/" + version }

// Programs adds programs of this machine, or libraries. Those that are already
// there are left alone.
func (a *Archive) Programs(files ...Library) {
	for _, f := range files {
		if !a.Has(f.Path) {
			a.Copy(f.Path, 0o755, f.From)
		}
	}
}

// A Shell is this machine's busybox, ready to be put in a guest.
type Shell struct {
	Digest  string // of the program and its libraries
	path    string
	libs    []Library
	applets []string
}

// Busybox finds the machine's busybox and asks it for its applets. It fails
// with a [*MissingError] if there is none.
func Busybox() (Shell, error) {
	file, err := exec.LookPath("busybox")
	if err != nil {
		return Shell{}, &MissingError{What: "busybox", Need: "give guests a shell", Hint: "try: apt-get install busybox-static"}
	}
	s := Shell{path: file}
	if s.libs, err = Libraries(file); err != nil {
		return Shell{}, err
	}
	list, err := exec.Command(file, "--list").Output()
	if err != nil {
		return Shell{}, fmt.Errorf("list applets of %s: %w", file, err)
	}
	s.applets = strings.Fields(string(list))
	s.Digest, err = DigestFiles(append([]Library{{Path: file, From: file}}, s.libs...)...)
	return s, err
}

// Add adds busybox with a link for each applet that has no program of its own
// in the archive, so it comes after those.
func (s Shell) Add(a *Archive) {
	a.Programs(append([]Library{{Path: "/bin/busybox", From: s.path}}, s.libs...)...)
	for _, name := range s.applets {
		taken := false
		for _, dir := range []string{"/bin", "/sbin", "/usr/bin", "/usr/sbin"} {
			taken = taken || a.Has(path.Join(dir, name))
		}
		if !taken {
			a.Link(path.Join("/bin", name), "busybox")
		}
	}
	// Where the kernel looks for it: see kernel/module/kmod.c.
	if !a.Has("/sbin/modprobe") {
		a.Link("/sbin/modprobe", "../bin/busybox")
	}
}
