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
	"github.com/vmlaunch/vmlaunch/internal/fakeqemu"
	"github.com/vmlaunch/vmlaunch/internal/proc"
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
	uuid  string          // of the last boot
	while func()          // called while the guest that has booted runs; may be nil
	live  func(liveShelf) // the same, with its QEMU
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
	a := attempt{rec: store.Machine{Name: "web", Spec: b.spec}, files: b.files, host: host{disks: b.disks}}
	if err == nil {
		err = a.makeDisk(ctx)
	}
	m := store.Machine{Name: b.spec.Name, UUID: newUUID(), Spec: b.spec, CID: 42}
	if err == nil {
		err = b.files.writeFirstBoot(m, firstBoot{})
	}
	if err != nil {
		b.t.Fatal(err)
	}
	a.rec, a.l = m, New(Config{})
	if b.spec.TPM {
		a.host.swtpm, err = findSWTPM()
	}
	if err == nil {
		err = a.serveTPM()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.uuid = m.UUID
	defer a.closePassed()
	a.host.accel.Name = configs.AccelTCG
	p := plan(m, a.host, b.files, false)
	args := Args(p)
	i := slices.IndexFunc(args, func(s string) bool { return strings.Contains(s, "vhost-vsock") })
	q := startReal(b.t, ctx, b.files.qmp(), slices.Delete(args, i-1, i+1), a.passed...)
	a.closePassed()
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
		if strings.Contains(said.Text(), want) {
			if b.while != nil {
				b.while()
			}
			if b.live != nil {
				b.live(liveShelf{qemu: q.client})
			}
			return
		}
	}
	b.t.Fatalf("the guest did not say %q: %v; the console's log: %s", want, said.Err(), readTail(p.ConsoleLog))
}

// TestRealUEFIStarts boots a disk that no UEFI can boot: the firmware says so.
func TestRealUEFIStarts(t *testing.T) {
	testenv.Require(t, testenv.UEFI)
	b := newBootTest(t, filepath.Join(t.TempDir(), "a,b c"), configs.FormatRaw, configs.Machine{Board: configs.BoardQ35, Firmware: configs.FirmwareUEFI})
	b.boot("BdsDxe: starting Boot") // its own shell: there is nothing else
	if vars, err := os.ReadFile(b.files.nvram(false)); err != nil || !strings.HasPrefix(string(vars), "QFI") {
		t.Errorf("variables: %v", err)
	}
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

func startReal(t *testing.T, ctx context.Context, socket string, args []string, passed ...*os.File) *realQEMUProcess {
	t.Helper()
	f, err := qmp.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	q := &realQEMUProcess{t: t, cmd: exec.CommandContext(ctx, realQEMU(t), args...)}
	q.cmd.ExtraFiles = append([]*os.File{fdQMP - 3: f, fdVhost - 3: f}, passed...)
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

// diskSpec is fakeSpec with a disk, a firmware with variables, and a TPM: all that a
// launch makes for a disk guest.
func (b *bench) diskSpec() configs.Machine {
	b.t.Helper()
	testenv.Require(b.t, testenv.QEMUImg, testenv.UEFI, testenv.SWTPM)
	spec := b.fakeSpec(fakeqemu.Behaviour{})
	spec.Image, spec.Ready, spec.Firmware, spec.TPM = filepath.Join(b.root, "base, 1.raw"), configs.ReadyNone, configs.FirmwareUEFI, true
	if err := os.WriteFile(spec.Image, bootdisk.Image(1<<20), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return spec
}

// TestDiskLastsAsLongAsItsMachine keeps the disk over a stop, unless it is ephemeral,
// and not over a removal.
func TestDiskLastsAsLongAsItsMachine(t *testing.T) {
	b := newBench(t, true)
	for _, ephemeral := range []bool{false, true} {
		spec := b.diskSpec()
		spec.Ephemeral = ephemeral
		b.launch(spec)
		f := b.folder("web")
		files := []string{f.overlay(ephemeral), f.nvram(ephemeral), f.tpm(ephemeral)}
		for _, path := range files {
			if _, err := os.Stat(path); err != nil {
				t.Error(err)
			}
		}
		if err := b.Stop(t.Context(), "web", 0); err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			if _, err := os.Stat(path); (err != nil) != ephemeral {
				t.Errorf("ephemeral %v, stopped: %v", ephemeral, err)
			}
		}
		if _, err := b.Start(t.Context(), "web"); err != nil {
			t.Fatal(err)
		}
		if err := b.Down(t.Context(), "web", 0); err != nil {
			t.Fatal(err)
		}
		b.wantNothing()
	}
}

// TestDiskOfAChangedImage refuses a start on top of an image that was written since;
// a machine that keeps nothing takes it as it is.
func TestDiskOfAChangedImage(t *testing.T) {
	for _, ephemeral := range []bool{false, true} {
		b := newBench(t, true)
		spec := b.diskSpec()
		spec.Ephemeral = ephemeral
		b.launch(spec)
		for range 2 { // it is refused without a word of the first time's
			if err := b.Stop(t.Context(), "web", 0); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(spec.Image, bootdisk.Image(2<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := b.Start(t.Context(), "web")
			if _, refused := errors.AsType[*image.DiskError](err); refused == ephemeral || ephemeral && err != nil {
				t.Errorf("ephemeral %v: %v", ephemeral, err)
			}
		}
		if err := b.Down(t.Context(), "web", 0); err != nil {
			t.Fatal(err)
		}
		b.wantNothing()
	}
}

// TestDiskKillAtEveryStep kills the launch of a disk guest at each step, as kill -9
// would: the next command finds nothing left of its disk, its firmware and its TPM.
func TestDiskKillAtEveryStep(t *testing.T) {
	for _, step := range Steps()[3:] { // before that it is as any other
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, true)
			b.killAt(step, "up", b.diskSpec())
			if _, err := b.Reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			if step == "keep" {
				if err := b.Down(t.Context(), "web", 0); err != nil {
					t.Fatal(err)
				}
			}
			b.wantNothing()
			if left, err := proc.Marked(envRoot + "=" + b.root); err != nil || len(left) > 0 {
				t.Errorf("daemons are left: %v, %v", left, err)
			}
		})
	}
}

// TestDiskThatFailsTheLaunch leaves nothing but the images that were there.
func TestDiskThatFailsTheLaunch(t *testing.T) {
	b := newBench(t, true)
	spec := b.diskSpec()
	for _, c := range []struct {
		name string
		edit func(*configs.Machine)
		want string
		is   error
	}{
		{"no image", func(m *configs.Machine) { m.Image += ".gone" }, "no such file", fs.ErrNotExist},
		{"no disk", func(m *configs.Machine) { m.Disks = []configs.Disk{{Path: "/gone"}} }, "no such file", fs.ErrNotExist},
		{"smaller", func(m *configs.Machine) { m.DiskSizeMiB = 1; m.Image = b.root + "/big" }, "can't be made 1 MiB", nil},
		{"no QEMU", func(m *configs.Machine) { m.QEMU = "qemu-nowhere" }, "no qemu-nowhere", errors.ErrUnsupported},
	} {
		bad := spec
		if err := os.WriteFile(b.root+"/big", make([]byte, 2<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		c.edit(&bad)
		_, err := b.Launch(t.Context(), bad)
		if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
		b.wantNothing()
	}
}
