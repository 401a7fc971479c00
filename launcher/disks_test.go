package launcher

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/image"
	"github.com/vmlaunch/vmlaunch/internal/bootdisk"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/qmp"
	"github.com/vmlaunch/vmlaunch/store"
)

// A bootTest boots the disk of package bootdisk in a real QEMU, by the arguments
// that a launch would give it, the vsock device aside.
type bootTest struct {
	t     *testing.T
	spec  configs.Machine
	disks disks
	files folder
	while func() // called while the guest that has booted runs; may be nil
}

// newBootTest makes a base image of that format in dir.
func newBootTest(t *testing.T, dir, format string, spec configs.Machine) *bootTest {
	t.Helper()
	testenv.Require(t, testenv.QEMU, testenv.QEMUImg)
	b := &bootTest{t: t, spec: spec, files: folder{run: filepath.Join(dir, "run"), state: filepath.Join(dir, "state")}}
	for _, d := range []string{b.files.run, b.files.state} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	b.spec.Image = filepath.Join(dir, "base."+format)
	raw := b.spec.Image
	if format != configs.FormatRaw {
		raw = filepath.Join(dir, "base.tmp")
	}
	if err := os.WriteFile(raw, bootdisk.Image(1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if format != configs.FormatRaw {
		if out, err := exec.CommandContext(t.Context(), "qemu-img", "convert", "-f", "raw", "-O", format, raw, b.spec.Image).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return b
}

// boot starts the machine, waits for want on its serial port and ends it.
func (b *bootTest) boot(want string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	b.spec.Name = "web"
	b.spec.Default()
	err := b.spec.Validate()
	if err == nil {
		b.disks, err = resolveDisks(b.spec)
	}
	if err == nil {
		err = image.CreateOverlay(ctx, b.files.overlay(b.spec.Ephemeral), b.disks.base, int64(b.spec.DiskSizeMiB)*mib)
	}
	m := store.Machine{Name: b.spec.Name, UUID: newUUID(), Spec: b.spec, CID: 42}
	if err == nil {
		err = b.files.writeFirstBoot(m, firstBoot{})
	}
	if err != nil {
		b.t.Fatal(err)
	}
	p := plan(m, host{accel: Accel{Name: configs.AccelTCG}, disks: b.disks}, b.files, false)
	args := Args(p)
	i := slices.IndexFunc(args, func(s string) bool { return strings.Contains(s, "vhost-vsock") })
	q := startReal(b.t, ctx, b.files.qmp(), slices.Delete(args, i-1, i+1))
	defer q.end()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", p.ConsoleSocket)
	if err == nil {
		defer conn.Close()
		deadline, _ := ctx.Deadline()
		err = conn.SetDeadline(deadline)
	}
	if err == nil {
		err = q.client.Cont(ctx)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	said := bufio.NewScanner(conn)
	for said.Scan() {
		if strings.TrimSpace(said.Text()) == want {
			if b.while != nil {
				b.while()
			}
			return
		}
	}
	b.t.Fatalf("the guest did not say %q: %v; the console's log: %s", want, said.Err(), readTail(p.ConsoleLog))
}

// TestImageInUse starts a real QEMU that writes an image, and asks who may have it.
func TestImageInUse(t *testing.T) {
	b := newBootTest(t, t.TempDir(), configs.FormatRaw, configs.Machine{MemoryMiB: 64})
	data := filepath.Join(t.TempDir(), "data.raw")
	if err := os.WriteFile(data, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	b.spec.Disks = []configs.Disk{{Path: data}}
	base := b.spec.Image
	b.while = func() {
		for _, c := range []struct {
			path  string
			write bool
			want  string // "" for free
		}{
			{base, false, ""},
			{base, true, `in use by machine "web" (pid `},
			{data, true, `in use by machine "web" (pid `},
			{data, false, `written by machine "web" (pid `},
			{b.files.overlay(false), true, `in use by machine "web"`},
		} {
			err := checkHolders([]Drive{{Layers: []Layer{{Path: c.path}}, ReadOnly: !c.write}})
			if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || !errors.Is(err, fs.ErrExist)) {
				t.Errorf("%s, to write: %v: got %v, want %q", c.path, c.write, err, c.want)
			}
		}
	}
	b.boot("boot 1")
	for _, path := range []string{base, data, b.files.overlay(false), "/gone"} {
		if err := checkHolder(path, true); err != nil {
			t.Errorf("after the end of QEMU: %v", err)
		}
	}
}

// A realQEMUProcess is a QEMU that waits to be let run.
type realQEMUProcess struct {
	t      *testing.T
	cmd    *exec.Cmd
	client *qmp.Client
	log    strings.Builder
}

func startReal(t *testing.T, ctx context.Context, socket string, args []string) *realQEMUProcess {
	t.Helper()
	f, err := qmp.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	q := &realQEMUProcess{t: t, cmd: exec.CommandContext(ctx, realQEMU(t), args...)}
	q.cmd.ExtraFiles = []*os.File{f}
	q.cmd.Stdout, q.cmd.Stderr = &q.log, &q.log
	if err := q.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.Close() // or a dial to a QEMU that is gone would wait
	if q.client, err = qmp.Dial(ctx, socket); err != nil {
		_ = q.cmd.Wait()
		t.Fatalf("%v; QEMU says: %s", err, &q.log)
	}
	return q
}

func (q *realQEMUProcess) end() {
	q.t.Helper()
	if err := q.client.Quit(context.WithoutCancel(q.t.Context())); err != nil {
		q.t.Error(err)
	}
	q.client.Close()
	if err := q.cmd.Wait(); err != nil {
		q.t.Errorf("QEMU: %v; it says: %s", err, &q.log)
	}
}

// TestRealDiskBoots boots from an overlay, on each bus and board, in folders with
// odd names: what the guest wrote is there the next time, and the base is as it was.
func TestRealDiskBoots(t *testing.T) {
	for _, c := range []struct{ dir, format, bus, board string }{
		{"plain", configs.FormatRaw, configs.BusVirtioBlk, configs.BoardPC},
		{"a,b=c \"quoted'\nline {}\\ %s ü", configs.FormatQCOW2, configs.BusVirtioSCSI, configs.BoardQ35},
	} {
		t.Run(c.format, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), c.dir)
			b := newBootTest(t, dir, c.format, configs.Machine{DiskBus: c.bus, Board: c.board, DiskSizeMiB: 64, MemoryMiB: 64})
			before, err := os.ReadFile(b.spec.Image)
			if err != nil {
				t.Fatal(err)
			}
			b.boot("boot 1")
			b.boot("boot 2")
			if after, err := os.ReadFile(b.spec.Image); err != nil || string(after) != string(before) {
				t.Errorf("the base image was written: %v", err)
			}
			info, err := exec.CommandContext(t.Context(), "qemu-img", "info", "--output=json", b.files.overlay(false)).Output()
			if err != nil || !strings.Contains(string(info), `"virtual-size": 67108864`) {
				t.Errorf("overlay: %v, %s, want 64 MiB", err, info)
			}
			b.spec.Ephemeral = true
			b.boot("boot 1")
			if err := os.Remove(b.files.overlay(true)); err != nil { // as a stop does
				t.Fatal(err)
			}
			b.boot("boot 1")
		})
	}
}
