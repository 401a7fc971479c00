package launcher

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/qmp"
)

// An FDSet is a file under the descriptors that QEMU inherits for it, one for each
// way to open it. QEMU has it under the name /dev/fdset/SET.
type FDSet struct {
	Set int
	FDs []int
}

// handOver lets a QEMU that runs as who, and can open hardly anything, have the
// files of its plan: each is opened here, with our rights, and is inherited. The
// folders stay ours, so a guest that broke out can neither see nor plant files
// there.
func (a *attempt) handOver(p *Plan, who account) error {
	if !who.foreign() {
		return nil
	}
	console, err := qmp.Listen(p.ConsoleSocket) // what is right for a monitor is right for a console
	if err != nil {
		return fmt.Errorf("make console of machine %q: %w", p.Name, err)
	}
	p.ConsoleFD = a.pass(console)
	var errs []error
	lend := func(path *string) {
		if *path != "" {
			name, err := a.lend(*path, who)
			*path = name
			errs = append(errs, err)
		}
	}
	lend(&p.Firmware)
	lend(&p.Kernel)
	lend(&p.Initrd)
	for i := range p.OEM {
		lend(&p.OEM[i])
	}
	p.ConsoleLog, err = a.lendSet(p, p.ConsoleLog, os.O_WRONLY|os.O_CREATE|os.O_APPEND)
	errs = append(errs, err)
	for _, d := range p.Drives {
		for i := range d.Layers {
			ways := []int{os.O_RDONLY}
			if i == 0 && !d.ReadOnly {
				ways = append(ways, os.O_RDWR)
			}
			d.Layers[i].Path, err = a.lendSet(p, d.Layers[i].Path, ways...)
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("open files of machine %q: %w", p.Name, err)
	}
	return nil
}

// lend opens a file that QEMU only reads, and returns the name by which it can open
// it again. The kernel asks then for the file's own mode, not for that of the
// folders above it. A file of the machine's is made readable for its QEMU, whose
// group nobody else is in; of any other that is not for everybody it gets a copy.
func (a *attempt) lend(path string, who account) (name string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	if a.files.holds(path) {
		err = errors.Join(f.Chown(-1, int(who.gid)), f.Chmod(0o440))
	} else {
		f, err = readableBy(f, who)
	}
	if err != nil {
		f.Close()
		return "", err
	}
	return fmt.Sprintf("/proc/self/fd/%d", a.pass(f)), nil
}

// readableBy returns f, or if who may not read it a copy in memory. The caller
// closes what it got; f is closed if it is something else.
func readableBy(f *os.File, who account) (*os.File, error) {
	st, err := f.Stat()
	if err != nil {
		return f, err
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && who.mayRead(sys) {
		return f, nil
	}
	defer f.Close()
	fd, err := unix.MemfdCreate(filepath.Base(f.Name()), unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return f, fmt.Errorf("copy %s: %w", f.Name(), err)
	}
	c := os.NewFile(uintptr(fd), f.Name())
	_, err = io.Copy(c, f)
	if err == nil {
		_, err = unix.FcntlInt(c.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		c.Close()
		return c, fmt.Errorf("copy %s: %w", f.Name(), err)
	}
	return c, nil
}

// lendSet opens a file in several ways and returns the name by which QEMU has all of
// them. Nothing is asked of the file's mode any more.
func (a *attempt) lendSet(p *Plan, path string, ways ...int) (name string, err error) {
	set := FDSet{Set: len(p.FDSets)}
	for _, flag := range ways {
		f, err := os.OpenFile(path, flag, 0o600)
		if err != nil {
			return "", err
		}
		set.FDs = append(set.FDs, a.pass(f))
	}
	p.FDSets = append(p.FDSets, set)
	return fmt.Sprintf("/dev/fdset/%d", set.Set), nil
}

// holds reports whether path is in one of the machine's folders.
func (f folder) holds(path string) bool {
	return strings.HasPrefix(path, f.run+"/") || strings.HasPrefix(path, f.state+"/")
}

// fdSetArgs returns the arguments for sets of descriptors.
func fdSetArgs(sets []FDSet) []string {
	var args []string
	for _, s := range sets {
		for _, fd := range s.FDs {
			args = append(args, "-add-fd", fmt.Sprintf("fd=%d,set=%d", fd, s.Set))
		}
	}
	return args
}
