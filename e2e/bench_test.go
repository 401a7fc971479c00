package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/qmp"
	"github.com/vmlaunch/vmlaunch/vsock"
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

// labBench is how many machines BenchmarkLab brings up.
const labBench = 200

// BenchmarkLab brings up a lab of 200 probes, all answering, and pairs it with a plain
// parallel start of as many QEMUs of the same guest, which are ready when they
// answer on vsock. It wants a nest of 8 GiB.
func BenchmarkLab(b *testing.B) {
	testenv.Require(b, testenv.Root, testenv.VhostVsock, testenv.VsockModes, testenv.QEMU)
	root := b.TempDir()
	file := filepath.Join(root, "lab.yaml")
	text := "name: many\nnamespaces: {red: , blue: , green: , white: }\ndefaults: {image: probe, memory: 2M, ready_timeout: 10m}\nmachines:\n"
	for _, ns := range []string{"red", "blue", "green", "white"} {
		text += fmt.Sprintf("  in-%s: {netns: %s, replicas: %d}\n", ns, ns, labBench/4)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	run := func(args ...string) (string, time.Duration) {
		began := time.Now()
		out, err := exec.Command(testenv.Binary(), append([]string{"--root", root}, args...)...).CombinedOutput()
		if err != nil {
			b.Fatalf("vmlaunch %v: %v: %s", args, err, out)
		}
		return string(out), time.Since(began)
	}
	run("up", "warm", "--detach", "--image", "probe") // writes the cache
	run("rm", "--force", "warm")
	rom, err := filepath.Glob(filepath.Join(root, "cache/*/*.rom"))
	if err != nil || len(rom) != 1 {
		b.Fatalf("the cached firmware: %v, %v", rom, err)
	}
	var up, down, plain time.Duration
	for b.Loop() {
		_, took := run("up", "-f", file)
		up += took
		if out, _ := run("exec", "-p", "many", "PING"); strings.Count(out, "OK pong") != labBench {
			b.Fatalf("%d answers, want %d:\n%s", strings.Count(out, "OK pong"), labBench, out)
		}
		lines := plainLines(b, rom[0])
		_, took = run("down", "-p", "many")
		down += took
		plain += plainStart(b, lines)
	}
	n := float64(b.N)
	b.ReportMetric(up.Seconds()/n, "s/up")
	b.ReportMetric(down.Seconds()/n, "s/down")
	b.ReportMetric(plain.Seconds()/n, "s/plain")
	b.ReportMetric(float64(plain)/float64(up), "ratio")
}

// plainLines returns the command lines of the lab's QEMUs, as a script would have
// them: what came as a descriptor is named or taken by number, and the guest runs at
// once and tells nobody.
func plainLines(b *testing.B, rom string) [][]string {
	b.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	var lines [][]string
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), "\x00guest=many.") {
			continue // gone meanwhile, or another program
		}
		n := strconv.Itoa(len(lines))
		own := filepath.Join(dir, n)
		as := strings.NewReplacer(
			"id=qmp,fd=3,", "id=qmp,path="+own+".qmp,",
			"id=console,fd=5,", "id=console,path="+own+".console,",
			"logfile=/dev/fdset/0", "logfile="+own+".log",
			`"vhostfd":"4"`, `"guest-cid":`+strconv.Itoa(plainCID+len(lines)),
			"guest=many.", "guest=plain.", "name,string=many.", "name,string=plain.",
		)
		var line []string
		words := strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
		for i := 0; i < len(words); i++ {
			switch w := words[i]; {
			case w == "-S":
			case w == "-add-fd", w == "-fw_cfg" && strings.Contains(words[i+1], "notify"):
				i++
			case w == "-bios":
				line = append(line, w, rom)
				i++
			default:
				line = append(line, as.Replace(ownCID.ReplaceAllString(w, "")))
			}
		}
		lines = append(lines, line)
	}
	if len(lines) != labBench {
		b.Fatalf("%d QEMUs of the lab, want %d", len(lines), labBench)
	}
	return lines
}

// plainCID is the first CID of a plain start; all are in the host's own space.
const plainCID = 20000

// ownCID is the CID that a machine of the lab has.
var ownCID = regexp.MustCompile(`"guest-cid":[0-9]+,`)

// plainStart starts as many QEMUs as the lab has machines, as a shell's xargs -P
// would, eight at once, and returns the time until all have answered.
func plainStart(b *testing.B, lines [][]string) time.Duration {
	b.Helper()
	began := time.Now()
	cmds := make([]*exec.Cmd, len(lines))
	for i, line := range lines {
		cmds[i] = exec.Command(line[0], line[1:]...)
		cmds[i].Stderr = b.Output()
	}
	var all sync.WaitGroup
	places := make(chan struct{}, 8)
	for i, cmd := range cmds {
		places <- struct{}{}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		all.Go(func() {
			defer func() { <-places }()
			tick := time.NewTicker(100 * time.Millisecond) // a dial that fails at once must not take the guests' time
			defer tick.Stop()
			for ; b.Context().Err() == nil; <-tick.C {
				c, err := vsock.Dial(b.Context(), vsock.CID(plainCID+i), probe.port)
				if err == nil {
					_, err = c.Read(make([]byte, 1)) // its greeting
					c.Close()
				}
				if err == nil {
					return
				}
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	for _, cmd := range cmds {
		if err := cmd.Process.Kill(); err != nil {
			b.Error(err)
		}
		_ = cmd.Wait() // it was killed
	}
	return took
}
