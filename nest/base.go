package nest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/image"
)

// cacheInside is the cache of vmlaunch in the nest: the root user's.
const cacheInside = "/var/cache/vmlaunch"

// loaded are the modules that are there when the nest is up, as they are on a
// host that is ready for vmlaunch: its way out (virtio_net), /dev/vhost-vsock,
// loopback, which a real host loads with the first vsock socket, and the devices of
// taps, which it loads when they are opened (its udev has made their files).
func loaded() []string {
	return []string{"virtio_pci", "virtio_net", "vhost_vsock", "vsock_loopback", "tun", "vhost_net"}
}

// loadable are the modules that modprobe finds in the nest, where the kernel
// has them. Its modprobe is busybox's.
func loadable() []string {
	return []string{
		"vsock_diag", "vsockmon", "vmw_vsock_virtio_transport", "tun", "tap", "vhost_net", "veth",
		"bridge", "dummy", "macvlan", "macvtap", "ipvlan", "loop", "overlay", "virtio_blk",
		"virtio_console", "virtio_rng", "af_packet", "packet_diag", "inet_diag", "tcp_diag", "unix_diag",
	}
}

// firmware are the files that QEMU reads to start a machine of type pc or q35
// without display, and where distributions keep them.
func firmware() (names, dirs []string) {
	return []string{
			"bios-256k.bin", "bios.bin", "kvmvapic.bin", "linuxboot.bin", "linuxboot_dma.bin",
			"pvh.bin", "multiboot.bin", "multiboot_dma.bin", "efi-virtio.rom",
		}, []string{
			"/usr/share/qemu", "/usr/share/seabios", "/usr/lib/ipxe/qemu", "/usr/share/qemu-firmware",
		}
}

// A base is what the nest's large archive holds: all but today's vmlaunch.
type base struct {
	kernel image.Kernel
	tree   *image.Modules
	boot   []string // paths in the nest of the modules loaded at boot
	agent  []byte
	shell  image.Shell
	files  []image.Library // QEMU and the other programs with their libraries
	blobs  []image.Library // firmware
	guest  image.Kernel    // the kernel for guests in the nest; none if zero
}

// collect finds all that the base needs on this machine. It fails with an
// [image.MissingError] for what isn't there.
func collect(k, forGuests image.Kernel) (b base, err error) {
	b = base{kernel: k, guest: forGuests}
	if b.agent, err = image.Agent(); err != nil {
		return base{}, err
	}
	if b.shell, err = image.Busybox(); err != nil {
		return base{}, err
	}
	if b.tree, err = image.OpenModules(k.Modules); err != nil {
		return base{}, err
	}
	atBoot, err := b.tree.Order(loaded()...)
	if err != nil {
		return base{}, err
	}
	b.boot = image.ModulePaths(k.Version, atBoot)
	if b.files, err = programs(); err != nil {
		return base{}, err
	}
	b.blobs = blobs()
	return b, nil
}

// programs returns the programs of this machine that go into the nest, with
// their libraries: QEMU with its emulator module, and those others that exist.
func programs() ([]image.Library, error) {
	qemu, err := findQEMU()
	if err != nil {
		return nil, err
	}
	files := []string{qemu}
	for _, dir := range []string{"/usr/lib/x86_64-linux-gnu/qemu", "/usr/lib/qemu", "/usr/lib64/qemu"} {
		// Where QEMU is cut into modules, its emulator is one.
		if path := filepath.Join(dir, "accel-tcg-x86_64.so"); exists(path) {
			files = append(files, path)
		}
	}
	for _, name := range []string{"qemu-img", "virtiofsd", "passt", "swtpm", "ip", "strace"} {
		if path, ok := findProgram(name); ok {
			files = append(files, path)
		}
	}
	libs, err := image.Libraries(files...)
	if err != nil {
		return nil, err
	}
	var all []image.Library
	for _, f := range files {
		all = append(all, image.Library{Path: f, From: f})
	}
	return append(all, libs...), nil
}

// findQEMU returns the path of this machine's QEMU. It fails with an
// [image.MissingError] if there is none.
func findQEMU() (string, error) {
	path, ok := findProgram("qemu-system-x86_64")
	if !ok {
		return "", &image.MissingError{What: "qemu-system-x86_64", Need: "run a nested host", Hint: "try: apt-get install qemu-system-x86"}
	}
	return path, nil
}

// findProgram looks where administrators' programs and QEMU's own are, too: a
// user's PATH may lack them.
func findProgram(name string) (string, bool) {
	if path, err := exec.LookPath(name); err == nil {
		abs, err := filepath.Abs(path)
		return abs, err == nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/libexec", "/usr/lib/qemu"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, true
		}
	}
	return "", false
}

// blobs returns the firmware files that this machine has, a UEFI's with the
// descriptor by which it is found.
func blobs() []image.Library {
	names, dirs := firmware()
	var all []image.Library
	if f, err := image.FindUEFI(configs.BoardPC); err == nil { // else disks in the nest boot by BIOS
		all = append(all,
			image.Library{Path: filepath.Join("/usr/share/qemu/firmware", filepath.Base(f.Descriptor)), From: f.Descriptor},
			image.Library{Path: f.Code.Path, From: f.Code.Path}, image.Library{Path: f.Vars.Path, From: f.Vars.Path})
	}
	for _, name := range names {
		for _, dir := range dirs {
			if from := filepath.Join(dir, name); exists(from) {
				all = append(all, image.Library{Path: filepath.Join(dirs[0], name), From: from})
				break
			}
		}
	}
	return all
}

// baseForm is raised when write changes what it makes of the same parts.
const baseForm = "nest base 1"

// archive returns the base's archive in the cache, written if it isn't there.
func (b base) archive(ctx context.Context, c *image.Cache) (string, error) {
	files, err := image.DigestFiles(append(b.files, b.blobs...)...)
	if err != nil {
		return "", err
	}
	key := image.Digest(baseForm, b.kernel.Digest, image.Digest(string(b.agent)), b.shell.Digest, files,
		b.guest.Digest, strings.Join(slices.Concat(loaded(), loadable()), " "))
	path, err := c.Initrd(ctx, key, b.write)
	if err != nil {
		return "", fmt.Errorf("build nest's initramfs: %w", err)
	}
	return path, nil
}

func (b base) write(a *image.Archive) error {
	mods, err := b.modules()
	if err != nil {
		return err
	}
	a.Base(b.agent)
	a.Programs(b.files...)
	for _, f := range b.blobs {
		a.Copy(f.Path, 0o644, f.From)
	}
	b.shell.Add(a)
	a.Modules(b.kernel.Version, mods)
	if b.guest.Path != "" {
		a.CachedKernel(cacheInside, b.guest)
	}
	return nil
}

// modules returns all modules of the nest, those loaded at boot first.
func (b base) modules() ([]image.Module, error) {
	want := loaded()
	for _, name := range loadable() {
		if b.tree.Has(name) {
			want = append(want, name)
		}
	}
	return b.tree.Order(want...)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
