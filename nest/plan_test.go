package nest

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/internal/proc"
)

func TestArgs(t *testing.T) {
	got := plan{
		qemu: "/usr/bin/qemu", kernel: "7.3.4", vmlinux: "/cache/vmlinux", initrd: "/run/a,b/initrd",
		console: "/run/a,b/console.log", memoryMiB: 2048, cpus: 2, monitor: 3,
	}.args()
	want := strings.Fields(`/usr/bin/qemu -name vmlaunch-nest-7.3.4
		-machine q35 -accel tcg,thread=multi -cpu max,-cx16 -smp 2 -m 2048
		-nodefaults -no-user-config -display none -no-reboot -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny
		-chardev file,id=console,path=/run/a,,b/console.log -serial chardev:console
		-chardev socket,id=monitor,server=on,wait=off,fd=3 -mon chardev=monitor,mode=control
		-netdev user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:22 -device virtio-net-pci,netdev=net,romfile=
		-kernel /cache/vmlinux -initrd /run/a,b/initrd -append`)
	want = append(want, "console=ttyS0 panic=-1 quiet no_timer_check")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	own := plan{qemu: "/usr/bin/qemu", memoryMiB: 2048, cpus: 2, monitor: 3, vsock: 4}.args()
	want = strings.Fields(`-object memory-backend-memfd,id=memory,share=on,size=2048M -machine memory-backend=memory
		-chardev socket,id=vsock,fd=4 -device vhost-user-vsock-pci,chardev=vsock`)
	if diff := cmp.Diff(want, own[len(own)-len(want):]); diff != "" {
		t.Errorf("with a vsock device of its own (-want +got):\n%s", diff)
	}
	if !startedOn(got, "/run/a,b/initrd") || startedOn(got, "/run/a/initrd") || startedOn([]string{"x", "-initrd"}, "") {
		t.Error("startedOn does not tell our QEMU by its initramfs")
	}
}

func TestParseUsernet(t *testing.T) {
	// As QEMU 7.2 prints it; the second with a connection under way.
	const table = "Hub -1 (net):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n"
	tests := map[string]struct {
		text string
		want int
	}{
		"one":          {table + "  TCP[HOST_FORWARD]   8       127.0.0.1 43351       10.0.2.15    22     0     0\r\n", 43351},
		"used":         {table + "  TCP[ESTABLISHED]   12       127.0.0.1 40000       10.0.2.15    22     0     0\r\n  TCP[HOST_FORWARD]   8       127.0.0.1 43351       10.0.2.15    22     0     0\r\n", 43351},
		"none":         {table, 0},
		"no number":    {table + "  TCP[HOST_FORWARD]   8       127.0.0.1 port       10.0.2.15    22     0     0\r\n", 0},
		"out of range": {table + "  TCP[HOST_FORWARD]   8       127.0.0.1 70000       10.0.2.15    22     0     0\r\n", 0},
		"not yet open": {table + "  TCP[HOST_FORWARD]   8       127.0.0.1 0       10.0.2.15    22     0     0\r\n", 0},
		"no user net":  {"", 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseUsernet(tt.text)
			if got != tt.want || (err == nil) != (tt.want != 0) {
				t.Errorf("got %d, %v, want %d", got, err, tt.want)
			}
		})
	}
}

func TestLookBelievesTheKernelNotTheFile(t *testing.T) {
	ready := record{Kernel: "7.3.4", QEMU: proc.ID{PID: 1, Start: 2, Boot: "b"}, Ready: true, Keys: guest.Keys{HostPub: "k"}}
	starting := ready
	starting.Ready = false
	tests := map[string]struct {
		write func(dir string) error
		alive bool
		want  state
	}{
		"nothing":          {func(dir string) error { return os.Remove(dir) }, true, absent},
		"no record yet":    {func(string) error { return nil }, true, broken},
		"up":               {ready.write, true, running},
		"qemu has ended":   {ready.write, false, broken},
		"up was killed":    {starting.write, true, broken},
		"record is broken": {func(dir string) error { return os.WriteFile(filepath.Join(dir, recordFile), []byte("{"), 0o600) }, true, broken},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "nest-7.3")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := tt.write(dir); err != nil {
				t.Fatal(err)
			}
			r, got := look(dir, func(proc.ID) bool { return tt.alive })
			if got != tt.want {
				t.Errorf("got state %d, want %d", got, tt.want)
			}
			if got == running {
				if diff := cmp.Diff(ready, r); diff != "" {
					t.Errorf("record (-want +got):\n%s", diff)
				}
				if st, err := os.Stat(filepath.Join(dir, recordFile)); err != nil || st.Mode().Perm() != 0o600 {
					t.Errorf("record: mode %v, %v, want 0600: it holds a key", st.Mode(), err)
				}
			}
		})
	}
}

func TestOptionsFill(t *testing.T) {
	o := Options{}
	if err := o.fill(); err != nil || o.Kernel != Kernels()[0] || o.CPUs != DefaultCPUs || o.MemoryMiB < 1024 || o.MemoryMiB > DefaultMemoryMiB {
		t.Errorf("defaults: got %+v, %v", o, err)
	}
	for _, bad := range []string{"../7.3", "7 3", "a\x00"} {
		if err := (&Options{Kernel: bad}).fill(); err == nil {
			t.Errorf("kernel %q was taken", bad)
		}
	}
	for host, want := range map[int]int{512: 1024, 4000: 2000, 8192: 4096, 65536: 4096} {
		if got := memoryFor(host); got != want {
			t.Errorf("memory on a host with %d MiB: got %d, want %d", host, got, want)
		}
	}
}

func TestLastLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("one\r\n\r\ntwo\r\nthree"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, want := lastLines(path, 2), []string{"  two", "  three"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := lastLines(path+"x", 2); got != nil {
		t.Errorf("no file: got %q", got)
	}
}

// TestStraysAreFoundByTheirInitramfs starts a process that looks like a QEMU
// whose Up was killed before it could write the record, and clears after it.
func TestStraysAreFoundByTheirInitramfs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "nest-7.3")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "nest-7.3")
	for _, d := range []string{dir, other} {
		cmd := exec.Command("sh", "-c", "read x", "-initrd", filepath.Join(d, initrdFile))
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { in.Close(); cmd.Wait() })
	}
	ids, err := strays(dir)
	if err != nil || len(ids) != 1 {
		t.Fatalf("got %v, %v, want one", ids, err)
	}
	if err := clear(t.Context(), dir, record{}); err != nil {
		t.Fatal(err)
	}
	if ids[0].Alive() {
		t.Errorf("%v is still there", ids[0])
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("folder: %v, want it gone", err)
	}
	if ids, err := strays(other); err != nil || len(ids) != 1 {
		t.Errorf("another nest's process: got %v, %v, want it untouched", ids, err)
	}
}
