package nest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/image"
	"github.com/vmlaunch/vmlaunch/internal/agentconfig"
	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/internal/undo"
	"github.com/vmlaunch/vmlaunch/qmp"
)

// The files in a nest's folder.
const (
	monitorFile = "qmp.sock"
	consoleFile = "console.log"
	logFile     = "qemu.log"
	initrdFile  = "initrd" // until QEMU has read it
)

// binaryInside is where today's vmlaunch lies in the nest.
const binaryInside = "/usr/bin/vmlaunch"

// Options say what nest to bring up.
type Options struct {
	Cache  *image.Cache
	RunDir string // holds a folder for each nest
	Kernel string // version prefix, "" for the first of [Kernels]
	Guest  string // reference of the kernel for guests in the nest; "" for the light one, or [NoGuest]

	MemoryMiB int // 0 for [DefaultMemoryMiB], less on a small host
	CPUs      int // 0 for [DefaultCPUs]

	// OwnCID, if not 0, makes the nest a vsock guest with that CID, as a virtual
	// machine of a cloud may be. Nobody is at the other end of its device.
	OwnCID uint32

	Binary   string       // this vmlaunch, to be put in; "" for none
	Progress func(string) // gets a line for each step that takes time; may be nil
}

// Kernels returns the kernel versions that nests are known to work with, the
// one taken by default first. Others of the distribution work as they can.
func Kernels() []string { return []string{image.DefaultVersion, "7.2", "6.12"} }

// NoGuest as Options.Guest asks for a nest without a kernel for guests.
const NoGuest = "none"

// DefaultMemoryMiB is enough for tens of small guests. The nest's files take a
// quarter of a GiB of it; QEMU takes from the host what is used.
const DefaultMemoryMiB = 4096

// DefaultCPUs lets QEMUs in the nest run beside the nest's kernel. With one CPU
// everything inside is much slower, more than two bring little under emulation.
const DefaultCPUs = 2

func (o *Options) fill() error {
	if o.Kernel == "" {
		o.Kernel = Kernels()[0]
	}
	if strings.ContainsAny(o.Kernel, "/ \x00") {
		return fmt.Errorf("nest %q: want a kernel version, such as %s", o.Kernel, Kernels()[0])
	}
	if o.CPUs == 0 {
		o.CPUs = DefaultCPUs
	}
	if o.MemoryMiB == 0 {
		var s unix.Sysinfo_t
		if err := unix.Sysinfo(&s); err != nil {
			return fmt.Errorf("memory of this host: %w", err)
		}
		o.MemoryMiB = memoryFor(int(uint64(s.Totalram) * uint64(s.Unit) >> 20))
	}
	return nil
}

// memoryFor returns the default memory on a host with so much: never over
// half, never under what it takes to boot.
func memoryFor(hostMiB int) int { return max(1024, min(DefaultMemoryMiB, hostMiB/2)) }

func (o Options) progress(format string, args ...any) {
	if o.Progress != nil {
		o.Progress(fmt.Sprintf(format, args...))
	}
}

// Up brings the nest of a kernel up and returns it. One that runs is taken as
// it is, with its vmlaunch replaced if it is another than Options.Binary.
// Concurrent calls wait for each other; what a killed one has left is cleared.
// On failure nothing is left running.
//
// It fails with [fs.ErrNotExist] if there is no such kernel, with [fs.ErrExist] if it
// runs without the OwnCID that is asked for, with an
// [image.MissingError] for what this host lacks, with ctx's error, and with a
// [*BootError] if the nest doesn't come up.
func Up(ctx context.Context, o Options) (*Nest, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	unlock, err := lock(ctx, o.RunDir, o.Kernel)
	if err != nil {
		return nil, err
	}
	defer unlock()
	dir := folder(o.RunDir, o.Kernel)
	n := &Nest{dir: dir}
	var s state
	if n.record, s = look(dir, proc.ID.Alive); s == running {
		if o.OwnCID != 0 && o.OwnCID != n.record.OwnCID {
			return nil, &runsOtherwiseError{o.Kernel, o.OwnCID}
		}
		return n, n.update(ctx, o)
	}
	if err := clear(ctx, dir, n.record); err != nil {
		return nil, fmt.Errorf("clear nest %s: %w", o.Kernel, err)
	}
	if n.record, err = boot(ctx, o, dir); err != nil {
		return nil, fmt.Errorf("bring up nest %s: %w", o.Kernel, err)
	}
	return n, nil
}

// boot makes the folder, starts QEMU and waits for the agent. On failure it
// leaves nothing.
func boot(ctx context.Context, o Options, dir string) (r record, err error) {
	var back undo.Stack
	defer func() { back.Unwind(ctx, &err) }()

	b, archive, err := prepare(ctx, o)
	if err != nil {
		return record{}, err
	}
	keys, err := guest.NewKeys()
	if err != nil {
		return record{}, err
	}
	r = record{Kernel: b.kernel.Version, Keys: keys, MemoryMiB: o.MemoryMiB, CPUs: o.CPUs, OwnCID: o.OwnCID, Started: time.Now()}
	if r.Binary, err = binaryDigest(o.Binary); err != nil {
		return record{}, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return record{}, err
	}
	back.Push("folder of nest", func(ctx context.Context) error { return clear(ctx, dir, r) })
	cfg, err := config(o, b, keys)
	if err != nil {
		return record{}, err
	}
	initrd := filepath.Join(dir, initrdFile)
	if err := writeInitrd(initrd, archive, o.Binary, cfg); err != nil {
		return record{}, err
	}
	o.progress("starting qemu with linux %s", b.kernel.Version)
	var vsock *os.File
	if o.OwnCID != 0 {
		backend, end, err := newVsockBackend(o.OwnCID)
		if err != nil {
			return record{}, err
		}
		defer backend.Close() // what went wrong with it shows in the nest
		defer end.Close()
		vsock = end
	}
	if err := r.launch(ctx, dir, b, vsock); err != nil {
		return record{}, err
	}
	if err := os.Remove(initrd); err != nil { // QEMU has read it: it is memory wasted on a tmpfs
		return record{}, err
	}
	o.progress("waiting for linux %s", b.kernel.Version)
	if err := (&Nest{dir: dir, record: r}).waitReady(ctx); err != nil {
		return record{}, err
	}
	r.Ready = true
	if err := r.write(dir); err != nil {
		return record{}, err
	}
	back.Keep()
	return r, nil
}

// prepare gets the kernels and the base archive, from the cache if it can.
func prepare(ctx context.Context, o Options) (base, string, error) {
	k, err := o.Cache.Kernel(ctx, "distro:"+o.Kernel)
	if err != nil {
		return base{}, "", err
	}
	forGuests, err := guestKernel(ctx, o, k)
	if err != nil {
		return base{}, "", err
	}
	b, err := collect(k, forGuests)
	if err != nil {
		return base{}, "", err
	}
	o.progress("packing the nest's files")
	archive, err := b.archive(ctx, o.Cache)
	return b, archive, err
}

// guestKernel returns the kernel for guests in the nest: the light one, which
// boots several times faster under emulation, or the nest's own where the light
// one can't be built.
func guestKernel(ctx context.Context, o Options, own image.Kernel) (image.Kernel, error) {
	switch o.Guest {
	case "":
	case NoGuest:
		return image.Kernel{}, nil
	default:
		return o.Cache.Kernel(ctx, o.Guest)
	}
	k, err := o.Cache.Kernel(ctx, "light")
	if errors.Is(err, errors.ErrUnsupported) {
		o.progress("%v: guests will boot linux %s, which is slow", err, own.Version)
		return own, nil
	}
	return k, err
}

// config returns what the agent is told.
func config(o Options, b base, keys guest.Keys) (agentconfig.Config, error) {
	modules := b.boot
	if o.OwnCID != 0 {
		own, err := b.tree.Order(vsockModule)
		if err != nil {
			return agentconfig.Config{}, err
		}
		for _, path := range image.ModulePaths(b.kernel.Version, own) {
			if !slices.Contains(modules, path) {
				modules = append(slices.Clip(modules), path)
			}
		}
	}
	return agentconfig.Config{
		Role: agentconfig.Nest, Hostname: "nest",
		Listen:  []string{fmt.Sprintf("tcp::%d", agentconfig.SSHPort)},
		HostKey: string(keys.Host), AuthorizedKeys: []string{keys.ClientPub},
		Modules: modules, Network: true,
	}, nil
}

// writeInitrd writes what QEMU boots: the cached base, then a small archive with
// what is of today. Only the owner can read it: the host key is in it.
func writeInitrd(path, base, binary string, cfg agentconfig.Config) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	from, err := os.Open(base)
	if err != nil {
		return err
	}
	defer from.Close()
	if _, err := io.Copy(f, from); err != nil {
		return fmt.Errorf("copy %s: %w", base, err)
	}
	a := image.NewArchive(f)
	if err := a.Config(cfg); err != nil {
		return err
	}
	if binary != "" {
		a.Copy(binaryInside, 0o755, binary)
	}
	return a.Close()
}

// launch starts QEMU, with a vsock device of its own if vsock is the end of one,
// records it, and asks it for its port.
func (r *record) launch(ctx context.Context, dir string, b base, vsock *os.File) error {
	qemu, err := findQEMU()
	if err != nil {
		return err
	}
	monitor, err := qmp.Listen(filepath.Join(dir, monitorFile))
	if err != nil {
		return err
	}
	p := plan{
		qemu: qemu, kernel: b.kernel.Version, vmlinux: b.kernel.Path,
		initrd: filepath.Join(dir, initrdFile), console: filepath.Join(dir, consoleFile),
		memoryMiB: r.MemoryMiB, cpus: r.CPUs, monitor: monitorFD,
	}
	files := []*os.File{monitor}
	if vsock != nil {
		p.vsock, files = vsockFD, append(files, vsock)
	}
	r.QEMU, err = start(p, filepath.Join(dir, logFile), files...)
	monitor.Close() // QEMU has its own copy, or there is no QEMU
	if err != nil {
		return err
	}
	if err := r.write(dir); err != nil {
		return err
	}
	m, err := qmp.Dial(ctx, filepath.Join(dir, monitorFile))
	if err != nil {
		return newBootError(dir, fmt.Errorf("qemu doesn't answer: %w", err))
	}
	defer m.Close()
	r.Port, err = forwardedPort(ctx, m)
	return err
}
