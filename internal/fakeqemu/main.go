// Package fakeqemu is a QEMU without a guest, for tests of what starts and
// drives one. A test binary becomes it by running itself again:
//
//	func TestMain(m *testing.M) {
//		fakeqemu.Main()
//		os.Exit(m.Run())
//	}
//
// [Install] then gives the path of a program to start in QEMU's place. It takes
// QEMU's command line, keeps the descriptors it is given, serves monitors and
// consoles, and leaves as QEMU does; [Behaviour] makes it misbehave. The suite
// in qmp/qmptest holds it to what a real QEMU does.
package fakeqemu

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Env is the environment variable that makes [Main] a QEMU. Its value is a
// [Behaviour] as JSON.
const Env = "VMLAUNCH_FAKEQEMU"

// Main returns at once unless this process was started as a fake QEMU. Then it
// is one and exits.
func Main() {
	if value, ok := os.LookupEnv(Env); ok {
		os.Exit(run(value, os.Args[1:]))
	}
}

// Install makes a program that is a QEMU of this behaviour, and returns its
// path. The program needs no environment: it is a script that sets it.
func Install(t testing.TB, b Behaviour) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "qemu-system-x86_64")
	script := fmt.Sprintf("#!/bin/sh\nexport %s=%s\nexec %s \"$@\"\n", Env, quote(b.String()), quote(self))
	syscall.ForkLock.RLock() // a child born now would keep the script open: ETXTBSY
	err = os.WriteFile(path, []byte(script), 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// quote makes s one word of a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// run is the whole life of a QEMU. It returns the exit code.
func run(value string, args []string) int {
	var b Behaviour
	if err := json.Unmarshal([]byte(value), &b); err != nil {
		return complain("%s=%s: %v", Env, value, err)
	}
	if slices.Contains(args, "-version") || slices.Contains(args, "--version") {
		fmt.Println("QEMU emulator version " + version + " (fake)")
		return 0
	}
	o, err := parse(args)
	if err != nil {
		return complain("%v", err)
	}
	if b.DieAtStart != "" {
		complain("%s", b.DieAtStart)
		return max(b.Exit, 1)
	}
	m, err := build(b, o)
	if err != nil {
		return complain("%v", err)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	m.start()
	select {
	case sig := <-signals:
		complain("terminating on signal %d", sig)
		m.shutdown("host-signal", false)
	case <-m.over:
	}
	m.leave()
	return b.Exit
}

// complain prints a message as QEMU does, and returns its exit code for it.
func complain(format string, args ...any) int {
	fmt.Fprintf(os.Stderr, "qemu-system-x86_64: "+format+"\n", args...)
	return 1
}

// die ends this process as the kernel does when memory is short.
func die() {
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// isOpen fails with the kernel's reason if fd is not open here.
func isOpen(fd string) error {
	n, err := strconv.Atoi(fd)
	if err != nil {
		return fmt.Errorf("file descriptor %q: not a number", fd)
	}
	var st syscall.Stat_t
	return syscall.Fstat(n, &st)
}
