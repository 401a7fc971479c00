package image

import (
	"bytes"
	"compress/gzip"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// A bzHeader is what a bzImage says about itself, see
// Documentation/arch/x86/boot.rst of Linux.
type bzHeader struct {
	version string // uname -r; "" if the image has none that could be
	offset  int64  // of the compressed kernel, in the file
	length  int64
}

// headLen covers the real-mode part of a bzImage with the version text in it.
const headLen = 64 << 10

// The setup header's fields. Offsets are from the start of the file.
const (
	bzSetupSects    = 0x1f1
	bzMagic         = 0x202
	bzProtocol      = 0x206
	bzKernelVersion = 0x20e // plus 0x200
	bzPayloadOffset = 0x248
	bzPayloadLength = 0x24c
	bzHeaderEnd     = 0x250
	bzSector        = 512
	bzMinProtocol   = 0x0208 // the first with the payload fields, Linux 2.6.26
)

// readHead returns the first bytes of a kernel image.
func readHead(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, headLen))
}

// parseBzImage reads the header at the start of an x86 kernel image. It fails
// for anything else.
func parseBzImage(head []byte) (bzHeader, error) {
	if len(head) < bzHeaderEnd || string(head[bzMagic:bzMagic+4]) != "HdrS" {
		return bzHeader{}, errors.New("neither an ELF kernel nor an x86 bzImage")
	}
	le := binary.LittleEndian
	if v := le.Uint16(head[bzProtocol:]); v < bzMinProtocol {
		return bzHeader{}, fmt.Errorf("boot protocol %d.%02d: want 2.08 or newer", v>>8, v&0xff)
	}
	sects := int64(head[bzSetupSects])
	if sects == 0 {
		sects = 4 // for compatibility with the oldest loaders
	}
	h := bzHeader{
		offset: (sects+1)*bzSector + int64(le.Uint32(head[bzPayloadOffset:])),
		length: int64(le.Uint32(head[bzPayloadLength:])),
	}
	if at := int(le.Uint16(head[bzKernelVersion:])) + bzSector; at > bzSector && at < len(head) {
		text, _, _ := bytes.Cut(head[at:], []byte{0})
		if version, _, _ := strings.Cut(string(text), " "); versionForm.MatchString(version) {
			h.version = version
		}
	}
	return h, nil
}

// versionForm is what can be a kernel's version: printable, and the name of a
// folder below /lib/modules.
var versionForm = regexp.MustCompile(`^[!--0-~][!-.0-~]*$`)

// decoder returns a reader of the payload's content, by its magic number.
func decoder(payload []byte) (io.Reader, error) {
	r := bytes.NewReader(payload)
	switch {
	case bytes.HasPrefix(payload, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		// The kernel packs itself with a 128 MiB window. What stands after the
		// frame is the unpacked size, not a frame: the caller stops before it.
		return zstd.NewReader(r, zstd.WithDecoderMaxWindow(128<<20), zstd.WithDecoderConcurrency(1))
	case bytes.HasPrefix(payload, []byte("\xfd7zXZ\x00")):
		return xz.ReaderConfig{SingleStream: true}.NewReader(r)
	case bytes.HasPrefix(payload, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(r)
		if err == nil {
			z.Multistream(false)
		}
		return z, err
	case bytes.HasPrefix(payload, []byte(elf.ELFMAG)):
		return r, nil
	}
	return nil, fmt.Errorf("compression with magic % x: %w (want zstd, xz or gzip)", payload[:min(4, len(payload))], errors.ErrUnsupported)
}

// unpack writes the ELF kernel that is packed in the image at path to out.
func unpack(path string, h bzHeader, out string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	// Read as far as there is a file: the length is only said.
	payload, err := io.ReadAll(io.NewSectionReader(f, h.offset, h.length))
	if err == nil && int64(len(payload)) < h.length {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("read payload of %s: %w", path, err)
	}
	r, err := decoder(payload)
	if err != nil {
		return fmt.Errorf("unpack %s: %w", path, err)
	}
	// The kernel's own length word follows the packed data. It bounds the copy,
	// so that no decoder looks for a second frame behind the first.
	size := int64(binary.LittleEndian.Uint32(payload[len(payload)-4:]))
	w, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if n, err := io.CopyN(w, r, size); err != nil {
		return fmt.Errorf("unpack %s: after %d of %d bytes: %w", path, n, size, err)
	}
	return nil
}

// vmlinux returns the ELF kernel in the bzImage at path, unpacked once, or the
// bzImage itself when QEMU could not boot the ELF. Nested emulation needs tens
// of seconds to unpack a kernel; this needs one.
func (c *Cache) vmlinux(ctx context.Context, path, sum string, h bzHeader) (string, error) {
	c.progress("unpacking kernel %s", h.version)
	out, err := c.entry(ctx, "vmlinux", sum, func(tmp string) error { return unpack(path, h, tmp) })
	if errors.Is(err, errors.ErrUnsupported) {
		return path, nil // slower to boot, but it boots
	}
	if err != nil {
		return "", err
	}
	ok, err := bootsByPVH(out)
	if err != nil || ok {
		return out, err
	}
	return path, nil
}

// pvhNote is the type of the ELF note by which a kernel says where it is
// entered directly: XEN_ELFNOTE_PHYS32_ENTRY, see xen/interface/elfnote.h.
const pvhNote = 18

// bootsByPVH reports whether QEMU can boot the ELF kernel directly. It fails
// for a file that is no x86-64 ELF file.
func bootsByPVH(path string) (bool, error) {
	f, err := elf.Open(path)
	if err != nil {
		return false, fmt.Errorf("kernel %s: %w", path, err)
	}
	defer f.Close()
	if f.Machine != elf.EM_X86_64 {
		return false, fmt.Errorf("kernel %s: is for %v, want x86-64: %w", path, f.Machine, errors.ErrUnsupported)
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE {
			continue
		}
		b, err := io.ReadAll(p.Open())
		if err != nil {
			return false, fmt.Errorf("kernel %s: read notes: %w", path, err)
		}
		if hasNote(b, "Xen\x00", pvhNote) {
			return true, nil
		}
	}
	return false, nil
}

// hasNote walks a note segment: name and description lengths and type, then
// both padded to four bytes.
func hasNote(b []byte, name string, typ uint32) bool {
	pad := func(n uint32) int { return int(n+3) &^ 3 }
	for len(b) >= 12 {
		le := binary.LittleEndian
		nameLen, descLen, t := le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[8:])
		size := 12 + pad(nameLen) + pad(descLen)
		if nameLen > 1<<16 || descLen > 1<<16 || size > len(b) {
			return false
		}
		if t == typ && string(b[12:12+nameLen]) == name {
			return true
		}
		b = b[size:]
	}
	return false
}
