package nest

import (
	"fmt"
	"strconv"
	"strings"
)

// A plan is all that the nested host's QEMU is started with.
type plan struct {
	qemu      string // program
	kernel    string // uname -r, for people who read ps
	vmlinux   string
	initrd    string
	console   string // file for the serial console
	memoryMiB int
	cpus      int
	monitor   int // descriptor of the listening QMP socket
	vsock     int // descriptor of the back end of its own vsock device; 0 for no such device
}

// args returns the argument vector. Each part was found to be the fastest way
// to a nested host without KVM, see docs/KERNEL.md: threads for the CPUs, all
// features of the emulated one, and the ELF kernel entered directly. Only
// cmpxchg16b is off: QEMU 7.2 gets its flags wrong at times, and Linux 6.12
// crashes of it in the memory allocator.
func (p plan) args() []string {
	args := []string{
		p.qemu, "-name", "vmlaunch-nest-" + p.kernel,
		"-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max,-cx16",
		"-smp", strconv.Itoa(p.cpus), "-m", strconv.Itoa(p.memoryMiB),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny",
		"-chardev", "file,id=console,path=" + escape(p.console), "-serial", "chardev:console",
		"-chardev", "socket,id=monitor,server=on,wait=off,fd=" + strconv.Itoa(p.monitor), "-mon", "chardev=monitor,mode=control",
		// Nothing gets out; one port of QEMU's choice gets in, to the agent.
		"-netdev", "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:22", "-device", "virtio-net-pci,netdev=net,romfile=",
		"-kernel", p.vmlinux, "-initrd", p.initrd,
		// Under emulation on a busy host the check of the timer fails for want of
		// time, and Linux then tries ways that this machine doesn't have.
		"-append", "console=ttyS0 panic=-1 quiet no_timer_check",
	}
	if p.vsock == 0 {
		return args
	}
	return append(args, // QEMU has such a device only if its memory can be shared
		"-object", fmt.Sprintf("memory-backend-memfd,id=memory,share=on,size=%dM", p.memoryMiB), "-machine", "memory-backend=memory",
		"-chardev", "socket,id=vsock,fd="+strconv.Itoa(p.vsock), "-device", "vhost-user-vsock-pci,chardev=vsock")
}

// escape makes a value safe inside QEMU's comma lists.
func escape(value string) string { return strings.ReplaceAll(value, ",", ",,") }
