package image

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/configs"
)

// maxChain bounds how many images may lie below each other. QEMU has no bound;
// more than a handful is a loop.
const maxChain = 16

// A Disk is a disk image, as the file itself tells.
type Disk struct {
	Path      string // absolute
	Format    string // configs.FormatRaw or FormatQCOW2
	Device    bool   // a block device, not a file
	SizeBytes int64  // of the disk that a guest sees
	Backing   *Disk  // the image below it; nil for none
}

// A DiskError says why a file can't be used as a disk image.
type DiskError struct {
	Path string
	Why  string
	Hint string // the way out; may be empty
}

func (e *DiskError) Error() string {
	s := fmt.Sprintf("disk image %q: %s", e.Path, e.Why)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// OpenDisk looks at the disk image at path and at those below it. Its format is
// the given one, or with "" what its first bytes tell; its name tells nothing. It fails with [fs.ErrNotExist] and
// [fs.ErrPermission] if one of the files can't be read, and with a [*DiskError]
// for what must not be opened on the word of a file that others may have written:
//
//   - an image that is not of the given format, raw aside, which any file is;
//   - an image that keeps its data in another file;
//   - an image below another one that is not said to be qcow2 or raw, is
//     neither a plain file nor a block device, or is not what it is said to be;
//   - a raw image below another one in a different folder: any file of this host
//     is a raw image, so the guest could read whatever the image names.
//
// Nothing is held when it returns.
func OpenDisk(path, format string) (Disk, error) {
	return openChain(path, format, maxChain)
}

func openChain(path, format string, left int) (Disk, error) {
	d, head, err := readDisk(path, format)
	if err != nil || head.backing == "" {
		return d, err
	}
	refuse := func(why, hint string) (Disk, error) { return Disk{}, &DiskError{path, why, hint} }
	flat := "qemu-img convert makes one image of all"
	switch below := head.backing; {
	case left <= 1:
		return refuse(fmt.Sprintf("more than %d images lie below each other", maxChain), flat)
	case hasProtocol(below) || strings.ContainsRune(below, 0):
		return refuse(fmt.Sprintf("the image below it is %q, want a file", below), flat)
	case head.backingFormat != configs.FormatRaw && head.backingFormat != configs.FormatQCOW2:
		return refuse(fmt.Sprintf("does not say that the image below it, %q, is qcow2 or raw", below), "say it: qemu-img rebase -u -F FORMAT -b BASE IMAGE")
	}
	below := head.backing
	if !filepath.IsAbs(below) {
		below = filepath.Join(filepath.Dir(path), below) // as QEMU takes it: relative to the image, not to us
	}
	if head.backingFormat == configs.FormatRaw && filepath.Dir(filepath.Clean(below)) != filepath.Dir(filepath.Clean(path)) {
		return refuse(fmt.Sprintf("the raw image below it, %q, is in another folder", below), flat)
	}
	b, err := openChain(below, head.backingFormat, left-1)
	if err != nil {
		return Disk{}, fmt.Errorf("disk image %q: below it: %w", path, err)
	}
	d.Backing = &b
	return d, nil
}

// readDisk looks at one file.
func readDisk(path, format string) (Disk, qcow2, error) {
	// Not blocking: to open a pipe would wait for its other end.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return Disk{}, qcow2{}, fmt.Errorf("disk image %q: %w", path, bare(err))
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return Disk{}, qcow2{}, fmt.Errorf("disk image %q: %w", path, bare(err))
	}
	if m := st.Mode(); !m.IsRegular() && m&fs.ModeDevice == 0 || m&fs.ModeCharDevice != 0 {
		return Disk{}, qcow2{}, &DiskError{path, "is neither a file nor a block device", ""}
	}
	head := make([]byte, qcow2Head)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return Disk{}, qcow2{}, fmt.Errorf("disk image %q: %w", path, bare(err))
	}
	head = head[:n]
	d := Disk{Path: path, Format: configs.FormatRaw, Device: st.Mode()&fs.ModeDevice != 0}
	if kind := foreignFormat(head); kind != "" && format != configs.FormatRaw {
		return Disk{}, qcow2{}, &DiskError{path, "is of the format " + kind + ", want qcow2 or raw", "qemu-img convert, or unpack it"}
	}
	if format == configs.FormatQCOW2 && !isQCOW2(head) {
		return Disk{}, qcow2{}, &DiskError{path, "is not a qcow2 image", ""}
	}
	if !isQCOW2(head) || format == configs.FormatRaw {
		if d.SizeBytes, err = f.Seek(0, io.SeekEnd); err != nil {
			return Disk{}, qcow2{}, fmt.Errorf("disk image %q: %w", path, bare(err))
		}
		if d.SizeBytes == 0 {
			return Disk{}, qcow2{}, &DiskError{path, "is empty", "qemu-img create makes disk images"}
		}
		return d, qcow2{}, nil
	}
	q, err := parseQCOW2(head)
	if err != nil {
		return Disk{}, qcow2{}, &DiskError{path, err.Error(), ""}
	}
	if q.dataFile {
		return Disk{}, qcow2{}, &DiskError{path, "keeps its data in another file", "qemu-img convert makes one image of both"}
	}
	d.Format, d.SizeBytes = configs.FormatQCOW2, q.size
	return d, q, nil
}

// hasProtocol reports whether QEMU takes name for more than a path; see
// path_has_protocol in block.c of its source.
func hasProtocol(name string) bool {
	i := strings.IndexAny(name, ":/")
	return i >= 0 && name[i] == ':'
}

// foreignFormat names a format that other programs write and we don't take:
// opened as raw, a guest would find no system on it.
func foreignFormat(head []byte) string {
	for magic, format := range map[string]string{
		"KDMV": "VMDK", "COWD": "VMDK", "# Disk DescriptorFile": "VMDK", "vhdxfile": "VHDX", "conectix": "VHD", "QED\x00": "QED", "LUKS\xba\xbe": "LUKS",
		"QFI\xfb\x00\x00\x00\x01": "version 1 qcow", "\x1f\x8b": "gzip", "\xfd7zXZ\x00": "xz", "\x28\xb5\x2f\xfd": "zstd",
	} {
		if strings.HasPrefix(string(head), magic) {
			return format
		}
	}
	return ""
}

// bare returns the cause of an error of package os without the path it repeats.
func bare(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
