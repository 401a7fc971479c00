package image

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
)

// isoSector is the size of ISO 9660's blocks, in bytes.
const isoSector = 2048

// The sectors of an image as [writeISO] makes it; the files follow.
const (
	isoSystem  = 16 // the volume descriptors begin here; nothing is before them
	isoEnd     = 17
	isoTableL  = 18 // path table, little endian
	isoTableM  = 19 // the same, big endian
	isoRoot    = 20 // the one folder
	isoContent = 21
)

// An isoFile is one file of an image's only folder.
type isoFile struct {
	name string // of a-z, 0-9, - and _
	data []byte
}

// writeISO writes an ISO 9660 image (ECMA-119) of files with that label, in one
// folder that fits a sector. It is the whole format but for extensions: an image of
// four small files needs none, and Linux, BSD and Windows read it. It fails as w
// does, and for more files than the folder takes.
func writeISO(w io.Writer, label string, files []isoFile) error {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b isoFile) int { return cmp.Compare(a.name, b.name) })
	root := isoRecord("\x00", isoRoot, isoSector)
	folder := slices.Concat(root, isoRecord("\x01", isoRoot, isoSector))
	next := uint32(isoContent)
	for _, f := range files {
		folder = append(folder, isoRecord(f.name+";1", next, uint32(len(f.data)))...)
		next += isoSectors(f.data)
	}
	if len(folder) > isoSector {
		return fmt.Errorf("iso9660 image %q: %d files, too many for one sector", label, len(files))
	}
	sectors := [][]byte{
		make([]byte, isoSystem*isoSector),
		isoDescriptor(label, next, root),
		append([]byte{255}, "CD001\x01"...), // the last one
		isoTable(binary.LittleEndian),
		isoTable(binary.BigEndian),
		folder,
	}
	for _, f := range files {
		sectors = append(sectors, f.data)
	}
	for _, s := range sectors {
		if _, err := w.Write(s); err != nil {
			return err
		}
		if rest := len(s) % isoSector; rest != 0 {
			if _, err := w.Write(make([]byte, isoSector-rest)); err != nil {
				return err
			}
		}
	}
	return nil
}

func isoSectors(data []byte) uint32 { return uint32((len(data) + isoSector - 1) / isoSector) }

// both32 is a number in both byte orders, as the format likes it.
func both32(n uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, n), n)
}

func both16(n uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.LittleEndian.AppendUint16(nil, n), n)
}

// isoRecord is the entry of a folder for what has size bytes from a sector on; see
// ECMA-119, 9.1. The folder itself and its parent have the names 0 and 1.
func isoRecord(name string, sector, size uint32) []byte {
	flags := byte(0)
	if name < "\x02" {
		flags = 2 // a folder
	}
	r := slices.Concat([]byte{0, 0}, both32(sector), both32(size),
		[]byte{80, 1, 1, 0, 0, 0, 0}, // 1 January 1980: nobody asks, and the same image twice is the same
		[]byte{flags, 0, 0}, both16(1), []byte{byte(len(name))}, []byte(name))
	if len(r)%2 != 0 {
		r = append(r, 0)
	}
	r[0] = byte(len(r))
	return r
}

// isoTable is the path table of an image with one folder; see ECMA-119, 9.4.
func isoTable(order binary.AppendByteOrder) []byte {
	t := order.AppendUint32([]byte{1, 0}, isoRoot)
	return append(order.AppendUint16(t, 1), 0, 0)
}

// isoDescriptor is the primary volume descriptor of an image of that many
// sectors; see ECMA-119, 8.4.
func isoDescriptor(label string, sectors uint32, root []byte) []byte {
	words := func(s string, n int) []byte { return []byte((s + strings.Repeat(" ", n))[:n]) }
	never := append([]byte(strings.Repeat("0", 16)), 0)
	return slices.Concat(
		[]byte{1}, []byte("CD001\x01\x00"), words("", 32), words(label, 32), make([]byte, 8),
		both32(sectors), make([]byte, 32), both16(1), both16(1), both16(isoSector),
		both32(uint32(len(isoTable(binary.LittleEndian)))),
		binary.LittleEndian.AppendUint32(nil, isoTableL), make([]byte, 4),
		binary.BigEndian.AppendUint32(nil, isoTableM), make([]byte, 4), root,
		words("", 4*128), words("", 3*37), never, never, never, never, []byte{1})
}
