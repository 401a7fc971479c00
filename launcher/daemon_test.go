package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/internal/fakeqemu"
	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/store"
)

// envDaemon makes this test binary a virtiofsd. Its value is what that says when it
// dies at its start; empty for one that serves.
const envDaemon = "VMLAUNCH_TEST_DAEMON"

// beDaemon is the whole life of a double of virtiofsd: it takes QEMU's connection
// and ends with it.
func beDaemon(last string) int {
	if slices.Contains(os.Args, "--help") {
		fmt.Println("--fd <FD> --shared-dir <DIR> --readonly")
		return 0
	}
	if last != "" {
		fmt.Fprintln(os.Stderr, last)
		return 3
	}
	l, err := net.FileListener(os.NewFile(fdListen, "listening"))
	if err == nil {
		var c net.Conn
		if c, err = l.Accept(); err == nil {
			_, _ = c.Write([]byte{1})
			_, _ = c.Read(make([]byte, 1)) // until QEMU is gone
			return 0
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// mountSpec is fakeSpec with two folders, served by a double of virtiofsd that says
// last and dies, or serves if that is empty.
func (b *bench) mountSpec(last string) configs.Machine {
	b.t.Helper()
	self, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	dir := filepath.Join(b.root, "folder, one")
	bin := b.t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\nexport %s='%s'\nexec '%s' \"$@\"\n", envDaemon, last, self)
	syscall.ForkLock.RLock() // a child born now would keep the script open: ETXTBSY
	err = errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(bin, "virtiofsd"), []byte(script), 0o755))
	syscall.ForkLock.RUnlock()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	spec := b.fakeSpec(fakeqemu.Behaviour{})
	spec.Image = filepath.Join(b.root, "disk.raw") // the probe guest has no files
	if err := os.WriteFile(spec.Image, make([]byte, 1<<20), 0o600); err != nil {
		b.t.Fatal(err)
	}
	spec.Ready = configs.ReadyNone // nobody is in it
	spec.Mounts = []configs.Mount{{Host: dir, Guest: "/src"}, {Host: dir, Guest: "/ro", ReadOnly: true}}
	return spec
}

// daemons returns what serves machines of this installation.
func (b *bench) daemons() []proc.ID {
	return slices.DeleteFunc(b.processes(), func(id proc.ID) bool {
		args, err := proc.Cmdline(id.PID)
		return err != nil || !slices.ContainsFunc(args, func(s string) bool { return strings.HasPrefix(s, "--shared-dir") })
	})
}

// awaitNoDaemons waits until all have ended by themselves.
func (b *bench) awaitNoDaemons() {
	b.t.Helper()
	for _, id := range b.daemons() {
		ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Second)
		defer cancel()
		if err := id.Wait(ctx); err != nil {
			b.t.Errorf("a daemon outlives its QEMU: %v", err)
		}
	}
}

// TestDaemonsLiveWithTheirMachine starts a machine with two, and ends it in each
// way.
func TestDaemonsLiveWithTheirMachine(t *testing.T) {
	testenv.Require(t, testenv.QEMUImg)
	for way, end := range map[string]func(*bench, store.Machine) error{
		"stop": func(b *bench, _ store.Machine) error { return b.Stop(t.Context(), "web", 10*time.Second) },
		"kill": func(b *bench, _ store.Machine) error { return b.Kill(t.Context(), "web") },
		"a QEMU killed by hand": func(b *bench, m store.Machine) error {
			err := kill(t.Context(), m.QEMU)
			b.awaitNoDaemons()
			return err
		},
		"daemons that hang": func(b *bench, _ store.Machine) error {
			for _, id := range b.daemons() {
				freeze(t, id)
			}
			return b.Stop(t.Context(), "web", 10*time.Second)
		},
		"a restart of a machine that was killed while its daemons hang": func(b *bench, m store.Machine) error {
			old := b.daemons()
			for _, id := range old {
				freeze(t, id)
			}
			if err := kill(t.Context(), m.QEMU); err != nil {
				return err
			}
			if _, err := b.Start(t.Context(), "web"); err != nil {
				return err
			}
			for _, id := range old {
				if id.Alive() {
					t.Errorf("%v of the run before lives", id)
				}
			}
			if n := len(b.daemons()); n != 2 {
				t.Errorf("%d daemons run, want 2", n)
			}
			return b.Down(t.Context(), "web", 0)
		},
	} {
		t.Run(way, func(t *testing.T) {
			b := newBench(t, true)
			m := b.launch(b.mountSpec(""))
			if n := len(b.daemons()); n != 2 {
				t.Errorf("%d daemons run, want 2", n)
			}
			marked, err := proc.Marked(daemonMark + "=" + m.UUID)
			if err != nil || len(marked) != 2 {
				t.Errorf("marked are %v, %v, want two", marked, err)
			}
			if entries, err := filepath.Glob(filepath.Join(b.folder("web").run, "mount*")); err != nil || len(entries) > 0 {
				t.Errorf("sockets are left: %q, %v", entries, err)
			}
			if err := end(b, m); err != nil {
				t.Fatal(err)
			}
			if ids := b.daemons(); len(ids) > 0 {
				t.Errorf("daemons are left: %v", ids)
			}
			if err := b.Down(t.Context(), "web", 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
			b.wantNothing()
		})
	}
}

// TestDaemonsGoWithAFailedLaunch breaks the launch off before each step.
func TestDaemonsGoWithAFailedLaunch(t *testing.T) {
	testenv.Require(t, testenv.QEMUImg)
	b := newBench(t, true)
	spec := b.mountSpec("")
	for _, step := range Steps()[:len(Steps())-1] {
		ctx, cancel := context.WithCancel(t.Context())
		b.Step = func(name string) {
			if name == step {
				cancel()
			}
		}
		if _, err := b.Launch(ctx, spec); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want the cause", step, err)
		}
		b.wantNothing()
	}
}

// TestDaemonsOfAKilledLaunch kills the launcher at each step with kill -9. With it
// goes its end of the connections, so the daemons end by themselves; the next
// command finds those that don't.
func TestDaemonsOfAKilledLaunch(t *testing.T) {
	testenv.Require(t, testenv.QEMUImg)
	b := newBench(t, true)
	spec := b.mountSpec("")
	for _, step := range []string{"daemons", "qemu", "pid", "monitor", "running"} {
		b.killAt(step, "up", spec)
		if step == "qemu" {
			b.awaitNoDaemons()
		}
		if _, err := b.Reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.wantNothing()
	}
}

// TestDaemonsWithoutARecord loses the state while a launch that had started them is
// killed.
func TestDaemonsWithoutARecord(t *testing.T) {
	testenv.Require(t, testenv.QEMUImg)
	b := newBench(t, true)
	m := b.launch(b.mountSpec(""))
	for _, id := range b.daemons() {
		freeze(t, id)
	}
	if err := kill(t.Context(), m.QEMU); err != nil {
		t.Fatal(err)
	}
	state := b.setAside()
	if _, err := b.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if ids := b.daemons(); len(ids) > 0 {
		t.Errorf("daemons are left: %v", ids)
	}
	b.putBack(state)
}

// TestDaemonThatDiesIsTold starts daemons that end at once.
func TestDaemonThatDiesIsTold(t *testing.T) {
	testenv.Require(t, testenv.QEMUImg)
	b := newBench(t, true)
	_, err := b.Launch(t.Context(), b.mountSpec("no room for inodes"))
	boot, ok := errors.AsType[*BootError](err)
	if !ok || !slices.Contains(boot.Tail, "no room for inodes") || !strings.Contains(boot.Cause, "virtiofsd-mount0 failed, exit status 3") {
		t.Errorf("got %v, want what the daemon said", err)
	}
	b.wantNothing()
}

// TestDaemonThatIsNoProgram has a virtiofsd that can't be started.
func TestDaemonThatIsNoProgram(t *testing.T) {
	testenv.Require(t, testenv.QEMUImg)
	b := newBench(t, true)
	spec := b.mountSpec("")
	path := lookVirtiofsd()
	b.Step = func(name string) {
		if name == "daemons" {
			if err := os.Chmod(path, 0o600); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := b.Launch(t.Context(), spec); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "virtiofsd-mount0") {
		t.Errorf("got %v, want it to tell what can't be started", err)
	}
	b.wantNothing()
}
