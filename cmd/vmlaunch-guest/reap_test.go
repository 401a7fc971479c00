package main

import (
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// asReaper makes the test binary the reaper of TestReaper: the reaper waits for
// every child of its process, so it can't be tested in one that has others.
const asReaper = "VMLAUNCH_TEST_AS_REAPER"

// reapAll starts a program that leaves orphans behind and reaps until nothing
// is left. It returns 0 if the program's own exit came to its owner.
func reapAll() int {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return failTest(err)
	}
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, unix.SIGCHLD)
	r := newReaper()
	var children []*child
	for range 20 {
		c, err := r.start("/bin/sh", []string{"sh", "-c", "(exit 1)& (sleep 0.1; exit 2)& exit 42"}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{}})
		if err != nil {
			return failTest(err)
		}
		children = append(children, c)
	}
	if !waitNone(r, changed, patience) {
		return 2
	}
	for _, c := range children {
		select {
		case <-c.done:
		default:
			return 3
		}
		if c.status.ExitStatus() != 42 {
			return 4
		}
		c.signal(unix.SIGKILL) // its pid may be anybody's by now: nothing may happen
	}
	if _, err := r.start("/no/such/program", []string{"x"}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{}}); !errors.Is(err, fs.ErrNotExist) {
		return 5
	}
	if left, err := r.reap(); left || err != nil {
		return 6 // a program that could not be started left its process behind
	}
	return 0
}

func TestReaper(t *testing.T) {
	out, err := rerun(t, asReaper)
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestDiskMounts(t *testing.T) {
	table := strings.Join([]string{
		"rootfs / rootfs rw 0 0",
		"proc /proc proc rw 0 0",
		"/dev/vda /data ext4 rw 0 0",
		"tmpfs /tmp tmpfs rw 0 0",
		`/dev/vdb /data/with\040blank\134 ext4 rw 0 0`,
		"",
	}, "\n")
	got := strings.Join(diskMounts(table), "|")
	if want := `/data/with blank\|/data`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEndings(t *testing.T) {
	for sig, want := range map[os.Signal]ending{
		unix.SIGUSR2: powerOff, unix.SIGPWR: powerOff, unix.SIGTERM: reboot, unix.SIGINT: reboot, unix.SIGUSR1: halt, unix.SIGHUP: 0,
	} {
		if got := endingOf(sig); got != want {
			t.Errorf("%v: %v, want %v", sig, got, want)
		}
	}
	for _, e := range []ending{powerOff, reboot, halt} {
		if got, err := parseEnding(e.String()); got != e || err != nil {
			t.Errorf("%v: parsed as %v, %v", e, got, err)
		}
	}
	if _, err := parseEnding("sleep"); err == nil {
		t.Error(`"sleep" is taken for an ending`)
	}
}

func TestModuleFlags(t *testing.T) {
	for path, want := range map[string]int{"/a/b.ko": 0, "/a/b.ko.xz": unix.MODULE_INIT_COMPRESSED_FILE, "/a/b.ko.zst": unix.MODULE_INIT_COMPRESSED_FILE} {
		if got := moduleFlags(path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
}
