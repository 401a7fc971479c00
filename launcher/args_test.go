package launcher

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/image"
	"github.com/vmlaunch/vmlaunch/store"
)

func samplePlan(spec configs.Machine, notify uint32, rebootEnds bool) Plan {
	spec.Name = "web"
	spec.Default()
	m := store.Machine{Name: "web", UUID: "11111111-2222-4333-8444-555555555555", Spec: spec, CID: 42, NotifyPort: notify}
	h := host{
		qemu: "/usr/bin/qemu-system-x86_64", accel: Accel{Name: configs.AccelTCG},
		boot: image.Boot{Kernel: "/cache/vmlinux", Initrd: "/cache/base.cpio"}, probe: "/cache/probe.rom",
	}
	return plan(m, h, folder{run: "/run/vmlaunch/web", state: "/var/lib/vmlaunch/machines/web"}, rebootEnds)
}

// sampleDisks is a disk guest with its base and disks as a host could have them.
func sampleDisks(path string, spec configs.Machine) Plan {
	spec.Name, spec.Image = "web", path
	spec.Default()
	h := host{qemu: "/usr/bin/qemu-system-x86_64", accel: Accel{Name: configs.AccelTCG}}
	if spec.Kernel != "" {
		h.boot = image.Boot{Kernel: spec.Kernel}
	}
	if spec.TPM {
		h.tpmFD = fdFirstPassed
	}
	h.disks.base = image.Disk{Path: path, Format: configs.FormatQCOW2, Backing: &image.Disk{Path: path + ".raw", Format: configs.FormatRaw}}
	h.disks.uefi = image.Firmware{
		Code: image.FlashFile{Path: "/usr/share/OVMF/a,b/CODE.fd", Format: configs.FormatRaw}, Vars: image.FlashFile{Path: "/usr/share/OVMF/VARS.fd", Format: configs.FormatRaw},
	}
	for _, d := range spec.Disks {
		h.disks.extra = append(h.disks.extra, image.Disk{Path: d.Path, Format: configs.FormatRaw, Device: strings.HasPrefix(d.Path, "/dev/")})
	}
	m := store.Machine{Name: "web", UUID: "11111111-2222-4333-8444-555555555555", Spec: spec, CID: 42}
	return plan(m, h, folder{run: "/run/vmlaunch/web", state: "/var/lib/vmlaunch/machines/web"}, false)
}

// TestArgs compares command lines with the golden files, one argument a line.
// After a wanted change: UPDATE_GOLDEN=1 go test ./launcher -run Args.
func TestArgs(t *testing.T) {
	odd := samplePlan(configs.Machine{Image: configs.ImageProbe, QEMUArgs: []string{"-device", "virtio-rng-pci"}}, 0, false)
	odd.Name = "a,b=c"
	odd.ConsoleSocket, odd.ConsoleLog = "/run/x,y/console.sock", "/var/x,,y/console.log"
	for name, p := range map[string]Plan{
		"probe":         samplePlan(configs.Machine{Image: configs.ImageProbe}, 1024, true),
		"linux":         samplePlan(configs.Machine{Append: "loglevel=7", CPUs: 2, MemoryMiB: 512, Board: configs.BoardQ35}, 1024, true),
		"linux-reboots": samplePlan(configs.Machine{}, 0, false),
		"odd":           odd,
		"hugepages":     samplePlan(configs.Machine{Hugepages: true}, 0, false),
		"mounts":        sampleShares(),
		"networks": samplePlan(configs.Machine{Networks: []configs.Network{
			{Kind: configs.NetUser}, {Kind: configs.NetPasst}, {Kind: configs.NetBridge}, {Kind: configs.NetTap, Name: "a=\"b", MAC: "02:00:00:00:00:01"},
		}}, 0, false),
		"disks": sampleDisks("/images/base.qcow2", configs.Machine{Disks: []configs.Disk{
			{Path: "/images/data.raw"}, {Path: "/dev/sdz", ReadOnly: true, Serial: "data", Bus: configs.BusVirtioSCSI},
		}}),
		"disk-odd":    sampleDisks("/a,b=c \"q'\n{}\\/ü", configs.Machine{Ephemeral: true, DiskBus: configs.BusVirtioSCSI, Board: configs.BoardQ35}),
		"disk-uefi":   sampleDisks("/images/base.qcow2", configs.Machine{Firmware: configs.FirmwareUEFI, TPM: true}),
		"disk-kernel": sampleDisks("/images/base.qcow2", configs.Machine{Kernel: "/boot/vmlinuz", Append: "root=/dev/vda1"}),
	} {
		got := strings.Join(Args(p), "\n") + "\n"
		path := filepath.Join("testdata", "args", name)
		if os.Getenv("UPDATE_GOLDEN") != "" {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		t.Run(name, func(t *testing.T) {
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// parseOption reads one of QEMU's comma lists the way keyval_parse in
// util/keyval.c of its source does.
func parseOption(list string) []string {
	var parts []string
	var part bytes.Buffer
	for i := 0; i < len(list); i++ {
		if list[i] != ',' {
			part.WriteByte(list[i])
			continue
		}
		if i+1 < len(list) && list[i+1] == ',' {
			part.WriteByte(',')
			i++
			continue
		}
		parts = append(parts, part.String())
		part.Reset()
	}
	return append(parts, part.String())
}

func FuzzOption(f *testing.F) {
	for _, s := range []string{"", ",", ",,", "a,b", "a,server=on", "=", "a,,,b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		// A comma at the end of a value would double up with the next one.
		got := parseOption("socket,path=" + option(s) + ",server=on")
		if want := []string{"socket", "path=" + s, "server=on"}; !slices.Equal(got, want) {
			t.Errorf("%q: read back as %q", s, got)
		}
	})
}

// TestDeviceRepeatsTheCID guards the one number that must be there twice: QEMU
// would move the claim to another one.
func TestDeviceRepeatsTheCID(t *testing.T) {
	p := samplePlan(configs.Machine{Image: configs.ImageProbe}, 0, false)
	p.CID = 1<<32 - 2
	args := Args(p)
	i := slices.Index(args, "-device")
	var got map[string]any
	d := json.NewDecoder(strings.NewReader(args[i+1]))
	d.UseNumber()
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"driver": "vhost-vsock-pci", "id": "vsock0", "guest-cid": json.Number("4294967294"), "vhostfd": "4"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
