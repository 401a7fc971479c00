package e2e

import (
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/qmp"
)

// The figures of docs/PERFORMANCE.md. All are wall times of whole processes on
// the kernel the test runs on; ratios are of pairs taken in turn.

// BenchmarkVersion is the cost of starting vmlaunch at all.
func BenchmarkVersion(b *testing.B) {
	for b.Loop() {
		if err := exec.Command(testenv.Binary(), "version").Run(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLs is the cost of looking, with no machine there.
func BenchmarkLs(b *testing.B) {
	root := b.TempDir()
	for b.Loop() {
		if out, err := exec.Command(testenv.Binary(), "--root", root, "ls").CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
}

// BenchmarkUpDetach pairs `vmlaunch up --detach` of a probe guest with the bare
// QEMU command for the same guest, both until QMP says that it runs.
func BenchmarkUpDetach(b *testing.B) {
	testenv.Require(b, testenv.Root, testenv.VhostVsock, testenv.QEMU)
	root := b.TempDir()
	up := func(args ...string) {
		if out, err := exec.Command(testenv.Binary(), append([]string{"--root", root}, args...)...).CombinedOutput(); err != nil {
			b.Fatalf("vmlaunch %v: %v: %s", args, err, out)
		}
	}
	up("up", "warm", "--detach", "--image", "probe") // writes the cache
	rom, err := filepath.Glob(filepath.Join(root, "cache/*/*.rom"))
	if err != nil || len(rom) != 1 {
		b.Fatalf("the cached firmware: %v, %v", rom, err)
	}
	var ours, bare time.Duration
	for b.Loop() {
		began := time.Now()
		up("up", "apple", "--detach", "--image", "probe")
		ours += time.Since(began)
		up("rm", "--force", "apple")

		began = time.Now()
		stop := bareQEMU(b, rom[0])
		bare += time.Since(began)
		stop()
	}
	up("rm", "--force", "warm")
	n := float64(b.N)
	b.ReportMetric(ours.Seconds()*1e3/n, "ms/up")
	b.ReportMetric(bare.Seconds()*1e3/n, "ms/bare")
	b.ReportMetric(float64(ours)/float64(bare), "ratio")
}

// bareQEMU starts the guest as a shell script would and returns when it runs.
func bareQEMU(b *testing.B, rom string) (stop func()) {
	b.Helper()
	path := filepath.Join(b.TempDir(), "qmp.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		b.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	f, err := l.File()
	if err != nil {
		b.Fatal(err)
	}
	const cid = 4242
	cmd := exec.Command("qemu-system-x86_64", "-accel", "tcg", "-machine", "pc", "-m", "2", "-nodefaults", "-display", "none", "-bios", rom,
		"-chardev", "socket,id=qmp,fd=3,server=on,wait=off", "-mon", "chardev=qmp,mode=control",
		"-device", "vhost-vsock-pci,guest-cid="+strconv.Itoa(cid))
	cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	f.Close()
	l.Close()
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	c, err := qmp.Dial(ctx, path)
	if err != nil {
		b.Fatal(err)
	}
	if s, err := c.Status(ctx); err != nil || !s.Running {
		b.Fatalf("status of the bare QEMU: %+v, %v", s, err)
	}
	return func() {
		c.Close()
		if err := cmd.Process.Kill(); err != nil {
			b.Error(err)
		}
		_ = cmd.Wait() // it was killed
	}
}
