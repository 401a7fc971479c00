package nest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/image"
	"github.com/vmlaunch/vmlaunch/internal/paths"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// These tests boot real nests. They use the system's cache, as vmlaunch does,
// so that kernels are fetched once and not for each run.

// upIn is the environment variable that makes the test binary a process that
// brings a nest up in the run directory it names.
const upIn = "VMLAUNCH_NEST_TEST_UP_IN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(upIn); dir != "" {
		_, err := Up(context.Background(), liveOptions(dir))
		fmt.Fprintln(os.Stderr, "up:", err)
		os.Exit(1) // its parent kills it before it gets here
	}
	os.Exit(m.Run())
}

func liveOptions(runDir string) Options {
	dirs, err := paths.Resolve("")
	if err != nil {
		panic(err)
	}
	return Options{Cache: image.Open(dirs.Cache), RunDir: runDir, Guest: NoGuest, MemoryMiB: 1024}
}

// runDir returns a short one: it holds a socket.
func runDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, k := range Kernels() {
			if err := Down(context.Background(), dir, k); err != nil {
				t.Errorf("down %s: %v", k, err)
			}
		}
		os.RemoveAll(dir)
	})
	return dir
}

// sh runs a script in the nest and returns its output, both streams together.
func sh(t *testing.T, n *Nest, script string) (exit int, out string) {
	t.Helper()
	var b bytes.Buffer // one stream: two may not write to one buffer at once
	exit, err := n.Run(t.Context(), guest.Command{Args: []string{"sh", "-c", "exec 2>&1; " + script}, Stdout: &b})
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return exit, strings.TrimSpace(b.String())
}

func nothingLeft(t *testing.T, runDir, kernel string) {
	t.Helper()
	dir := folder(runDir, kernel)
	if ids, err := strays(dir); err != nil || len(ids) > 0 {
		t.Errorf("left running: %v, %v", ids, err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v, want it gone", dir, err)
	}
}

// TestNest is the life of one: brought up by two callers at once, used, its
// program replaced, its QEMU killed, brought up again, taken down.
func TestNest(t *testing.T) {
	testenv.Require(t, testenv.Nest, testenv.QEMU)
	o := liveOptions(runDir(t))
	o.Progress = func(s string) { t.Log(s) }
	n := upTwice(t, o)

	t.Run("commands", func(t *testing.T) {
		if exit, out := sh(t, n, "echo out; echo err >&2; exit 7"); exit != 7 || !strings.Contains(out, "out") || !strings.Contains(out, "err") {
			t.Errorf("got exit %d, output %q", exit, out)
		}
		var b bytes.Buffer
		exit, err := n.Run(t.Context(), guest.Command{Args: []string{"cat"}, Stdin: strings.NewReader("through"), Stdout: &b})
		if err != nil || exit != 0 || b.String() != "through" {
			t.Errorf("cat: got %q, exit %d, %v", b.String(), exit, err)
		}
	})
	t.Run("modules", func(t *testing.T) {
		if exit, out := sh(t, n, "test -c /dev/vhost-vsock && grep -q ^vsock_loopback /proc/modules && cat /proc/sys/net/vsock/ns_mode"); exit != 0 || out != "global" {
			t.Errorf("a host ready for vmlaunch: exit %d, %q, want global", exit, out)
		}
		// busybox's modprobe -r ends with 1 when something that the module needed
		// has other users, though the module is gone: so the first goes by rmmod.
		if exit, out := sh(t, n, "rmmod vsock_loopback && modprobe -r vhost_vsock && ! grep -q ^vsock /proc/modules && modprobe vhost_vsock && modprobe tun && test -c /dev/vhost-vsock"); exit != 0 {
			t.Errorf("modprobe: exit %d, %q", exit, out)
		}
	})
	t.Run("no way out", func(t *testing.T) {
		if exit, out := sh(t, n, "nc -w 2 10.0.2.2 22 </dev/null"); exit == 0 {
			t.Errorf("the nest reached this host: %q", out)
		}
	})
	t.Run("files", func(t *testing.T) { putFile(t, n) })
	t.Run("new program", func(t *testing.T) { replaceProgram(t, o) })
	t.Run("killed", func(t *testing.T) { killQEMU(t, n, o) })
}

// upTwice asks that two callers get one nest.
func upTwice(t *testing.T, o Options) *Nest {
	t.Helper()
	var nests [2]*Nest
	var errs [2]error
	var wg sync.WaitGroup
	for i := range nests {
		wg.Go(func() { nests[i], errs[i] = Up(t.Context(), o) })
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	if a, b := nests[0].Info(), nests[1].Info(); a.PID != b.PID || a.PID == 0 {
		t.Errorf("got pids %d and %d, want one nest", a.PID, b.PID)
	}
	if all, err := List(o.RunDir); err != nil || len(all) != 1 || all[0].PID != nests[0].Info().PID {
		t.Errorf("List: got %+v, %v", all, err)
	}
	return nests[0]
}

func putFile(t *testing.T, n *Nest) {
	local := filepath.Join(t.TempDir(), "tool")
	if err := os.WriteFile(local, []byte("#!/bin/sh\necho \"$0 ran\"\n"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := n.Put(t.Context(), local, "/put/it's here"); err != nil {
		t.Fatal(err)
	}
	if exit, out := sh(t, n, `"/put/it's here"; stat -c %a /put/*; ls /put`); exit != 0 || out != "/put/it's here ran\n750\nit's here" {
		t.Errorf("exit %d: %q", exit, out)
	}
	if err := n.Put(t.Context(), local, "/proc/nowhere/x"); err == nil {
		t.Error("put where nothing can be written: no error")
	}
}

func replaceProgram(t *testing.T, o Options) {
	o.Binary = filepath.Join(t.TempDir(), "vmlaunch")
	if err := os.WriteFile(o.Binary, []byte("#!/bin/sh\necho today\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	n, err := Up(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if exit, out := sh(t, n, "vmlaunch"); exit != 0 || out != "today" {
		t.Errorf("vmlaunch in the nest: exit %d, %q, want the one that Up was given", exit, out)
	}
}

func killQEMU(t *testing.T, n *Nest, o Options) {
	if err := n.record.QEMU.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := n.record.QEMU.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	var boot *BootError
	if _, err := n.Run(t.Context(), guest.Command{Args: []string{"true"}}); !errors.As(err, &boot) {
		t.Errorf("run: got %v, want a BootError", err)
	}
	if _, err := Open(o.RunDir, ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open: got %v, want ErrNotExist", err)
	}
	again, err := Up(t.Context(), o)
	if err != nil {
		t.Fatalf("up after that: %v", err)
	}
	if err := again.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, o.RunDir, Kernels()[0])
	if err := again.Down(t.Context()); err != nil {
		t.Errorf("down twice: %v", err)
	}
}

// TestEveryKernel boots each kernel that is promised, and asks it whether its
// namespaces have vsock modes: that is what they are for.
func TestEveryKernel(t *testing.T) {
	testenv.Require(t, testenv.Nest, testenv.QEMU)
	for _, kernel := range Kernels() {
		t.Run(kernel, func(t *testing.T) {
			o := liveOptions(runDir(t))
			o.Kernel = kernel
			n, err := Up(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if exit, out := sh(t, n, "uname -r"); exit != 0 || !strings.HasPrefix(out, kernel+".") || out != n.Info().Kernel {
				t.Errorf("uname -r: exit %d, %q", exit, out)
			}
			exit, _ := sh(t, n, "test -e /proc/sys/net/vsock/ns_mode")
			if modes := exit == 0; modes != strings.HasPrefix(kernel, "7.") {
				t.Errorf("has modes: %v", modes)
			}
		})
	}
}

// TestKilledUpLeavesNothing kills a process in the middle of Up, each time a
// little later, and asks that Down finds and removes all it has left.
func TestKilledUpLeavesNothing(t *testing.T) {
	testenv.Require(t, testenv.Nest, testenv.QEMU)
	dir := runDir(t)
	nest := folder(dir, Kernels()[0])
	reached := map[string]func() bool{
		"folder":  func() bool { return exists(nest) },
		"initrd":  func() bool { return exists(filepath.Join(nest, initrdFile)) },
		"qemu":    func() bool { ids, err := strays(nest); return err == nil && len(ids) > 0 },
		"record":  func() bool { r, err := readRecord(nest); return err == nil && r.QEMU.Alive() },
		"console": func() bool { return len(lastLines(filepath.Join(nest, consoleFile), 1)) > 0 },
	}
	for name, there := range reached {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), upIn+"="+dir)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(5 * time.Minute); !there(); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Errorf("never got that far")
					break
				}
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Errorf("kill: %v", err)
			}
			_ = cmd.Wait() // killed: that is its error
			if _, err := Open(dir, ""); !errors.Is(err, fs.ErrNotExist) && name != "console" {
				t.Errorf("open: got %v, want ErrNotExist: it is half a nest", err)
			}
			if err := Down(t.Context(), dir, ""); err != nil {
				t.Fatal(err)
			}
			nothingLeft(t, dir, Kernels()[0])
		})
	}
}

// TestCancelledUpLeavesNothing ends the context while the nest boots.
func TestCancelledUpLeavesNothing(t *testing.T) {
	testenv.Require(t, testenv.Nest, testenv.QEMU)
	o := liveOptions(runDir(t))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o.Progress = func(s string) {
		if strings.HasPrefix(s, "waiting for") {
			cancel()
		}
	}
	if _, err := Up(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was cancelled", err)
	}
	nothingLeft(t, o.RunDir, Kernels()[0])
}
