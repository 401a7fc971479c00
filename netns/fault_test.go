package netns_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"testing"
	"unsafe"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
	"golang.org/x/sys/unix"
)

// A fault is a system call that goes wrong: every one with this number and, if
// arg is not negative, this value of an argument.
type fault struct {
	name  string
	call  uint32
	arg   int
	value uint32
}

// faults are the steps of Create that change something or lead to it.
func faults() []fault {
	return []fault{
		{"lock", unix.SYS_FLOCK, -1, 0},
		{"unshare", unix.SYS_UNSHARE, -1, 0},
		{"enter", unix.SYS_SETNS, -1, 0},
		{"cookie", unix.SYS_GETSOCKOPT, 2, unix.SO_NETNS_COOKIE},
		{"pin file", unix.SYS_OPENAT, 2, unix.O_CREAT | unix.O_EXCL | unix.O_CLOEXEC},
		{"pin mount", unix.SYS_MOUNT, 3, unix.MS_BIND},
	}
}

// install makes all threads of this process suffer f, with a seccomp action.
func (f fault) install(action uint32) error {
	ld := func(offset int) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: uint32(offset)}
	}
	unless := func(value uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: skip, K: value}
	}
	ret := func(value uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: value}
	}
	// struct seccomp_data: nr at 0, args at 16, 8 bytes each.
	prog := []unix.SockFilter{ld(0), unless(f.call, 1), ret(action), ret(unix.SECCOMP_RET_ALLOW)}
	if f.arg >= 0 {
		prog = []unix.SockFilter{
			ld(0), unless(f.call, 3), ld(16 + 8*f.arg), unless(f.value, 1), ret(action), ret(unix.SECCOMP_RET_ALLOW),
		}
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	return nil
}

// playFault creates a namespace with a fault, and tells what is left in the
// process.
func playFault(arg ...string) (string, error) {
	i, err := strconv.Atoi(arg[0])
	if err != nil {
		return "", err
	}
	action := uint32(unix.SECCOMP_RET_ERRNO | uint32(unix.EIO))
	if arg[1] == "kill" {
		action = unix.SECCOMP_RET_KILL_PROCESS
	}
	mode, err := vsock.ParseMode(arg[2])
	if err != nil {
		return "", err
	}
	before := descriptors()
	if err := faults()[i].install(action); err != nil {
		return "", err
	}
	n, err := netns.Create("t-fault", mode)
	if !errors.Is(err, unix.EIO) || n != nil {
		return "", fmt.Errorf("Create: got %v, %v; want EIO", n, err)
	}
	if after := descriptors(); len(after) != len(before) {
		return "", fmt.Errorf("descriptors: before %q, after %q", before, after)
	}
	if abroad := threadsAbroad(); len(abroad) > 0 {
		return "", fmt.Errorf("threads abroad: %q", abroad)
	}
	return "clean", nil
}

// modeHere is the more demanding mode this kernel has.
func modeHere(t *testing.T) vsock.Mode {
	t.Helper()
	if has, err := vsock.Modes(); err != nil {
		t.Fatal(err)
	} else if has {
		return vsock.Local
	}
	return vsock.Global
}

// TestCreateFailsCleanAtEveryStep lets each step fail in turn and asks that
// nothing is left: no file, no descriptor, no thread.
func TestCreateFailsCleanAtEveryStep(t *testing.T) {
	testenv.Require(t, testenv.Root)
	directory(t)
	mode := modeHere(t)
	for i, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			said, err := asks(t, actor(fmt.Sprintf("fault %d fail %v", i, mode)))
			if said != "clean" || err != nil {
				t.Errorf("got %q, %v; want clean", said, err)
			}
			if _, err := os.Lstat("/run/netns/t-fault"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("file: %v", err)
			}
		})
	}
}

// TestCreateKilledAtEveryStep kills the creator before each step and asks that
// the next one is not in the way of what is left, nor is Remove.
func TestCreateKilledAtEveryStep(t *testing.T) {
	testenv.Require(t, testenv.Root)
	directory(t)
	mode := modeHere(t)
	kill := func(i int) {
		t.Helper()
		cmd := actor(fmt.Sprintf("fault %d kill %v", i, mode))
		said, err := asks(t, cmd)
		status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if err == nil || !ok || !status.Signaled() {
			t.Errorf("got %q, %v; want it killed", said, err)
		}
	}
	for i, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			kill(i)
			n, err := netns.Create("t-fault", mode)
			if err != nil {
				t.Fatalf("next creator: %v", err)
			}
			if m, err := n.Mode(); m != mode || err != nil {
				t.Errorf("mode: got %v, %v; want %v", m, err, mode)
			}
			if err := errors.Join(n.Close(), netns.Remove("t-fault")); err != nil {
				t.Fatal(err)
			}
			kill(i)
			left := f.name == "pin mount"
			if err := netns.Remove("t-fault"); left != (err == nil) || !left && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("remove: got %v; something is left: %v", err, left)
			}
		})
	}
}
