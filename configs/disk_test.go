package configs

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseDisk(t *testing.T) {
	for text, want := range map[string]Disk{
		"/a":                   {Path: "/a"},
		"data.raw":             {Path: "data.raw"},
		"-dash":                {Path: "-dash"},
		"a,b=c d\"'\n":         {Path: "a,b=c d\"'\n"},
		"ro,serial=x":          {Path: "ro,serial=x"}, // no colon, no options
		"/a:b":                 {Path: "/a:b"},
		"./ro:b":               {Path: "./ro:b"},
		"../ro:b":              {Path: "../ro:b"},
		":ro:b":                {Path: "ro:b"},
		"ro:/a":                {Path: "/a", ReadOnly: true},
		"ro:a:b,c=d":           {Path: "a:b,c=d", ReadOnly: true},
		"serial=x,ro:/a":       {Path: "/a", ReadOnly: true, Serial: "x"},
		"format=raw:a":         {Path: "a", Format: "raw"},
		"bus=virtio-scsi:/a,b": {Path: "/a,b", Bus: "virtio-scsi"},
	} {
		got, err := ParseDisk(text)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%q: %v (-want +got)\n%s", text, err, d)
		}
	}
	for _, text := range []string{"", "ro:", ":", "a:b", "ro=1:/a", "serial:/a", "serial=:/a", "ro,,serial=x:/a", "serial=x,serial=y:/a", "size=3:/a"} {
		got, err := ParseDisk(text)
		if f, ok := errors.AsType[*FieldError](err); !ok || f.Field != "disk" || f.Value != text {
			t.Errorf("%q: got %+v, %v, want a FieldError", text, got, err)
		}
	}
}

// FuzzParseDisk asks that a disk is written in a form that is read back the same.
func FuzzParseDisk(f *testing.F) {
	for _, s := range []string{"/a", "ro:/a", "ro,serial=x,format=raw,bus=b:a:b", ":x:y", ".a:b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDisk(s)
		if err != nil {
			return
		}
		if !strings.HasSuffix(s, d.Path) || d.Path == "" {
			t.Errorf("%q: the path is %q", s, d.Path)
		}
		if again, err := ParseDisk(d.String()); err != nil || again != d {
			t.Errorf("%q: %q is read as %+v, %v, want %+v", s, d.String(), again, err, d)
		}
	})
}

func TestValidateDisks(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*Machine)
		want string // "" for valid
	}{
		{"all of it", func(m *Machine) {
			m.DiskSizeMiB, m.Ephemeral, m.DiskBus = 1024, true, BusVirtioSCSI
			m.Disks = []Disk{{Path: "/a,b", Serial: "a"}, {Path: "/b", ReadOnly: true, Format: FormatRaw, Bus: BusVirtioBlk, Serial: "b"}}
		}, ""},
		{"relative", func(m *Machine) { m.Disks = []Disk{{Path: "a"}} }, `disk "a": want an absolute path, of UTF-8 without NUL bytes`},
		{"not UTF-8", func(m *Machine) { m.Disks = []Disk{{Path: "/\xff"}} }, `disk "/\xff": want an absolute path, of UTF-8 without NUL bytes`},
		{"image not UTF-8", func(m *Machine) { m.Image = "/\xff" }, `image "/\xff": want an absolute path, of UTF-8 without NUL bytes`},
		{"the same twice", func(m *Machine) { m.Disks = []Disk{{Path: "/a"}, {Path: "/a"}} }, `disk "/a": "/a" is there twice`},
		{"format", func(m *Machine) { m.Disks = []Disk{{Path: "/a", Format: "vmdk"}} }, `disk format "vmdk": want raw or qcow2`},
		{"bus", func(m *Machine) { m.DiskBus = "ide" }, `disk-bus "ide": want virtio-blk or virtio-scsi`},
		{"serial", func(m *Machine) { m.Disks = []Disk{{Path: "/a", Serial: "a b"}} }, `disk serial "a b": want 1 to 20 of A-Z a-z 0-9 . _ -`},
		{"firmware", func(m *Machine) { m.Firmware = "coreboot" }, `firmware "coreboot": want bios or uefi`},
		{"firmware of linux", func(m *Machine) { m.Image, m.Firmware = ImageLinux, FirmwareUEFI }, `firmware "uefi": the linux guest is not booted by one`},
		{"too many", func(m *Machine) {
			for i := range 21 {
				m.Disks = append(m.Disks, Disk{Path: "/" + strings.Repeat("x", i+1)})
			}
		}, `disk "21": want at most 20 disks`},
		{"size", func(m *Machine) { m.DiskSizeMiB = -1 }, `disk-size "-1M": want 1M to 67108864M`},
		{"append", func(m *Machine) { m.Append = "quiet" }, `append "quiet": the disk boots its own kernel (name one with --kernel)`},
		{"initrd", func(m *Machine) { m.Kernel, m.Initrd = "light", "/i" }, ""},
		{"relative initrd", func(m *Machine) { m.Kernel, m.Initrd = "light", "i" }, `initrd "i": want an absolute path without NUL bytes`},
		{"linux guest", func(m *Machine) { m.Image, m.Ephemeral = ImageLinux, true },
			`ephemeral "true": the linux guest boots no disk (--disk adds one)`},
		{"linux guest with a disk", func(m *Machine) { m.Image, m.Disks = ImageLinux, []Disk{{Path: "/a"}} }, ""},
		{"TPM of a probe", func(m *Machine) { m.Image, m.TPM = ImageProbe, true }, `tpm "true": the probe guest has no use for one`},
		{"probe guest", func(m *Machine) { m.Image, m.Disks = ImageProbe, []Disk{{Path: "/a"}} }, `disk "/a": the probe guest can't read disks`},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := Machine{Name: "web", Image: "/images/debian.qcow2"}
			m.Default()
			c.edit(&m)
			got := ""
			if err := m.Validate(); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestParseDiskSize(t *testing.T) {
	if mib, err := ParseDiskSize("20G"); err != nil || mib != 20<<10 {
		t.Errorf("got %d, %v", mib, err)
	}
	for _, s := range []string{"0", "65T", "1K", ""} {
		if mib, err := ParseDiskSize(s); err == nil || !strings.Contains(err.Error(), "disk-size") {
			t.Errorf("%q: got %d, %v", s, mib, err)
		}
	}
}
