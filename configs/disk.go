package configs

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"
)

// The formats of disk images, as values of [Disk.Format].
const (
	FormatRaw   = "raw"
	FormatQCOW2 = "qcow2"
)

// The buses that disks hang on, as values of [Machine.DiskBus] and [Disk.Bus].
const (
	BusVirtioBlk  = "virtio-blk"
	BusVirtioSCSI = "virtio-scsi"
)

const (
	maxDisks   = 20       // the pc board has 32 slots, and other devices want some
	maxDiskMiB = 64 << 20 // 64 TiB: more is a slip of the finger
)

// A Disk is a disk image that a machine has besides the one it boots. The guest
// writes into the image itself, unless it is read-only.
type Disk struct {
	Path     string `json:"path" yaml:"path"` // absolute
	ReadOnly bool   `json:"read_only,omitempty" yaml:"read_only,omitempty"`
	Format   string `json:"format,omitempty" yaml:"format,omitempty"` // "" as the image's first bytes tell
	Bus      string `json:"bus,omitempty" yaml:"bus,omitempty"`       // "" is the machine's DiskBus
	Serial   string `json:"serial,omitempty" yaml:"serial,omitempty"` // by which the guest can tell it
}

// diskForm is what to write, for errors.
const diskForm = "want [OPTION,…:]PATH, where OPTION is ro, format=raw, format=qcow2, bus=virtio-blk, bus=virtio-scsi or serial=WORD"

// ParseDisk reads PATH, or OPTION,…:PATH. Any path can be written: what begins
// with / or . is a path as a whole, and so is what has no colon in it; the path of
// all others begins after the first colon, and no options need stand before it.
// It returns a [*FieldError] for anything else. The path may be relative.
func ParseDisk(text string) (Disk, error) {
	options, path, ok := strings.Cut(text, ":")
	if !ok || strings.HasPrefix(text, "/") || strings.HasPrefix(text, ".") {
		options, path = "", text
	}
	d := Disk{Path: path}
	if path == "" {
		return Disk{}, &FieldError{"disk", text, diskForm}
	}
	if options == "" {
		return d, nil
	}
	for option := range strings.SplitSeq(options, ",") {
		key, value, has := strings.Cut(option, "=")
		field := map[string]*string{"format": &d.Format, "bus": &d.Bus, "serial": &d.Serial}[key]
		switch {
		case key == "ro" && !has:
			d.ReadOnly = true
		case field == nil || !has || value == "":
			return Disk{}, &FieldError{"disk", text, diskForm + "; a path with a colon in it is written ./" + text}
		case *field != "":
			return Disk{}, &FieldError{"disk", text, key + " is there twice"}
		default:
			*field = value
		}
	}
	return d, nil
}

// String returns d in the form that [ParseDisk] reads.
func (d Disk) String() string {
	var options []string
	if d.ReadOnly {
		options = append(options, "ro")
	}
	for _, o := range []struct{ key, value string }{{"format", d.Format}, {"bus", d.Bus}, {"serial", d.Serial}} {
		if o.value != "" {
			options = append(options, o.key+"="+o.value)
		}
	}
	if len(options) == 0 && (strings.HasPrefix(d.Path, "/") || !strings.Contains(d.Path, ":")) {
		return d.Path
	}
	return strings.Join(options, ",") + ":" + d.Path
}

// validFile says what is wrong with path as that of a disk image. QEMU takes it in
// JSON, which has only UTF-8.
func validFile(path string) error {
	if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) || !utf8.ValidString(path) {
		return errors.New("want an absolute path, of UTF-8 without NUL bytes")
	}
	return nil
}

// diskSerial is what a virtio disk takes: 20 bytes (VIRTIO_BLK_ID_BYTES of
// linux/virtio_blk.h), of a set that needs no quoting in udev's names.
var diskSerial = regexp.MustCompile(`^[A-Za-z0-9._-]{1,20}$`)

// validateDisks adds the mistakes in the machine's disks to errs.
func (m Machine) validateDisks(errs *Errors) {
	errs.oneOf("firmware", m.Firmware, "", FirmwareBIOS, FirmwareUEFI)
	errs.oneOf("disk-bus", m.DiskBus, "", BusVirtioBlk, BusVirtioSCSI)
	if len(m.Disks) > maxDisks {
		errs.add("disk", fmt.Sprint(len(m.Disks)), fmt.Sprintf("want at most %d disks", maxDisks))
	}
	seen := map[string]bool{}
	for _, d := range m.Disks {
		text := d.String()
		errs.check("disk", text, validFile(d.Path))
		for _, word := range []string{d.Path, d.Serial} {
			if word != "" && seen[word] {
				errs.add("disk", text, fmt.Sprintf("%q is there twice", word))
			}
			seen[word] = true
		}
		errs.oneOf("disk format", d.Format, "", FormatRaw, FormatQCOW2)
		errs.oneOf("disk bus", d.Bus, "", BusVirtioBlk, BusVirtioSCSI)
		if d.Serial != "" && !diskSerial.MatchString(d.Serial) {
			errs.add("disk serial", d.Serial, "want 1 to 20 of A-Z a-z 0-9 . _ -")
		}
	}
	if m.DiskSizeMiB < 0 || m.DiskSizeMiB > maxDiskMiB {
		errs.add("disk-size", fmt.Sprintf("%dM", m.DiskSizeMiB), fmt.Sprintf("want 1M to %dM", maxDiskMiB))
	}
	if m.Guest() == GuestDisk {
		if strings.Contains(m.Image, "/") {
			errs.check("image", m.Image, validFile(m.Image))
		}
		return
	}
	if m.Firmware == FirmwareUEFI {
		errs.add("firmware", m.Firmware, fmt.Sprintf("the %s guest is not booted by one", m.Guest()))
	}
	why := fmt.Sprintf("the %s guest boots no disk (--disk adds one)", m.Guest())
	if m.DiskSizeMiB != 0 {
		errs.add("disk-size", fmt.Sprintf("%dM", m.DiskSizeMiB), why)
	}
	if m.Ephemeral {
		errs.add("ephemeral", "true", why)
	}
	if m.Guest() == GuestProbe && len(m.Disks) > 0 {
		errs.add("disk", m.Disks[0].String(), "the probe guest can't read disks")
	}
}
