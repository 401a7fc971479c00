package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The bounds of a clean end. A process that ignores SIGTERM for termGrace is
// killed; one that outlives killGrace too hangs in the kernel and is left to
// it. Clients get partGrace to read the last exit status and to hang up. The
// whole stays below the 30 s after which hosts usually cut the power.
const (
	termGrace = 5 * time.Second
	killGrace = 5 * time.Second
	partGrace = time.Second
	syncGrace = 10 * time.Second
)

// An ending is how the machine ends.
type ending int

const (
	powerOff ending = iota + 1
	reboot
	halt
)

func (e ending) String() string {
	switch e {
	case powerOff:
		return "poweroff"
	case reboot:
		return "reboot"
	case halt:
		return "halt"
	}
	return fmt.Sprintf("ending(%d)", int(e))
}

var errBadEnding = errors.New("want poweroff, reboot or halt")

func parseEnding(s string) (ending, error) {
	for _, e := range []ending{powerOff, reboot, halt} {
		if s == e.String() {
			return e, nil
		}
	}
	return 0, fmt.Errorf("ending %q: %w", s, errBadEnding)
}

// endingOf says which ending a signal to PID 1 asks for. USR1, USR2 and TERM
// are what busybox's halt, poweroff and reboot send; PWR is the power button's;
// INT is what the kernel sends for Ctrl-Alt-Del.
func endingOf(sig os.Signal) ending {
	switch sig {
	case unix.SIGUSR2, unix.SIGPWR:
		return powerOff
	case unix.SIGTERM, unix.SIGINT:
		return reboot
	case unix.SIGUSR1:
		return halt
	}
	return 0
}

// ask asks PID 1 for e.
func (e ending) ask() error {
	sig := map[ending]unix.Signal{powerOff: unix.SIGUSR2, reboot: unix.SIGTERM, halt: unix.SIGUSR1}[e]
	return unix.Kill(1, sig)
}

// cut ends the machine now. It returns only if the kernel refuses.
func (e ending) cut() error {
	if e == powerOff {
		if err := pullPlug(); err != nil {
			return err
		}
	}
	cmd := map[ending]int{powerOff: unix.LINUX_REBOOT_CMD_POWER_OFF, reboot: unix.LINUX_REBOOT_CMD_RESTART, halt: unix.LINUX_REBOOT_CMD_HALT}[e]
	return os.NewSyscallError("reboot", unix.Reboot(cmd))
}

// stopProcesses ends every process but PID 1: first with SIGTERM, then with
// SIGKILL. All of them are PID 1's children, at the latest once their parents
// are gone, so there is nothing left when the reaper has nothing left. changed
// has to get a value after each SIGCHLD.
func stopProcesses(con console, r *reaper, changed <-chan os.Signal) {
	for _, step := range []struct {
		sig   unix.Signal
		grace time.Duration
	}{{unix.SIGTERM, termGrace}, {unix.SIGKILL, killGrace}} {
		_ = unix.Kill(-1, step.sig) // ESRCH: none is left
		_ = unix.Kill(-1, unix.SIGCONT)
		if waitNone(r, changed, step.grace) {
			return
		}
		con.printf("some processes did not end within %v of %s", step.grace, unix.SignalName(step.sig))
	}
}

// waitNone reaps until no child is left or the grace is over.
func waitNone(r *reaper, changed <-chan os.Signal, grace time.Duration) bool {
	over := time.NewTimer(grace)
	defer over.Stop()
	for {
		if left, err := r.reap(); err != nil || !left {
			return err == nil
		}
		select {
		case <-changed:
		case <-over.C:
			return false
		}
	}
}

// releaseDisks writes back what is cached and unmounts what is mounted, newest
// first; what is busy is made read-only instead. A device that never answers
// costs syncGrace at most.
func releaseDisks(con console) {
	done := make(chan struct{})
	go func() { // PID 1's last goroutine: it ends with the machine
		defer close(done)
		unix.Sync()
		table, err := os.ReadFile("/proc/self/mounts")
		if err != nil {
			return
		}
		for _, target := range diskMounts(string(table)) {
			if unix.Unmount(target, 0) != nil {
				_ = unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_RDONLY, "") // the sync is what counts
			}
		}
		unix.Sync()
	}()
	select {
	case <-done:
	case <-time.After(syncGrace):
		con.printf("disks not written back within %v", syncGrace)
	}
}

// diskMounts returns the mount points of file systems on block devices, newest
// first, from the text of /proc/self/mounts. Blanks in them are octal escapes.
func diskMounts(table string) []string {
	var targets []string
	for line := range strings.Lines(table) {
		f := strings.Split(line, " ") // not Fields: it takes other blanks too, which stand in names as they are
		if len(f) >= 2 && strings.HasPrefix(f[0], "/dev/") {
			targets = append(targets, unescapeMount(f[1]))
		}
	}
	slices.Reverse(targets)
	return targets
}

// unescapeMount undoes the kernel's mangling, see proc_pid_mounts(5).
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
