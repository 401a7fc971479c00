package main

import (
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// The power switch of QEMU's boards pc and q35: the PM1a control register,
// where SeaBIOS puts it (PORT_ACPI_PM_BASE + 4), and what to write there for
// state S5: SLP_EN, with the sleep type 0 that QEMU tells in its DSDT.
const (
	pm1aControl = 0x604
	sleepEnable = 1 << 13
)

// plugTime is what QEMU gets to stop the processor after that.
const plugTime = time.Second

// acpiFolder is there when the kernel has ACPI and found the tables.
const acpiFolder = "/sys/firmware/acpi"

// pullPlug powers the machine off for a kernel without ACPI, which can't: its
// reboot(2) would halt, and QEMU wait for ever. It does nothing where the
// kernel has ACPI, and returns if it did not work.
func pullPlug() error {
	if _, err := os.Stat(acpiFolder); err == nil {
		return nil
	}
	//nolint:forbidigo // PID 1 of a guest ends here
	runtime.LockOSThread()         // the permission is the thread's, see ioperm(2)
	defer runtime.UnlockOSThread() //nolint:forbidigo // the same
	if err := unix.Ioperm(pm1aControl, 2, 1); err != nil {
		return os.NewSyscallError("ioperm", err)
	}
	outw(pm1aControl, sleepEnable)
	time.Sleep(plugTime) //nolint:forbidigo // the machine is to be gone before it returns
	return nil
}

// outw writes to an I/O port. Without the permission the process gets a
// SIGSEGV.
func outw(port, value uint16)
