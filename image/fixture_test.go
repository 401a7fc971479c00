package image

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// An elfFixture is as much of an x86-64 ELF file as the tests want.
type elfFixture struct {
	machine  elf.Machine // EM_X86_64 if zero
	interp   string
	note     []byte // content of a PT_NOTE segment
	modinfo  []byte
	dynamic  [][2]any // tag and string
	sections []elfSection
}

type elfSection struct {
	name string
	typ  elf.SectionType
	data []byte
	link uint32
}

// bytes lays the file out: header, program headers, section headers, data.
func (f elfFixture) bytes(t testing.TB) []byte {
	t.Helper()
	if f.modinfo != nil {
		f.sections = append(f.sections, elfSection{name: ".modinfo", typ: elf.SHT_PROGBITS, data: f.modinfo})
	}
	if f.dynamic != nil {
		f.addDynamic()
	}
	names := "\x00"
	var progs []elf.Prog64
	var segments [][]byte
	for _, s := range []struct {
		typ  elf.ProgType
		data []byte
	}{{elf.PT_INTERP, cString(f.interp)}, {elf.PT_NOTE, f.note}} {
		if len(s.data) > 0 {
			progs = append(progs, elf.Prog64{Type: uint32(s.typ), Filesz: uint64(len(s.data)), Memsz: uint64(len(s.data))})
			segments = append(segments, s.data)
		}
	}
	all := append([]elfSection{{typ: elf.SHT_NULL}}, f.sections...)
	all = append(all, elfSection{name: ".shstrtab", typ: elf.SHT_STRTAB})
	heads := make([]elf.Section64, len(all))
	for i, s := range all {
		heads[i] = elf.Section64{Name: uint32(len(names)), Type: uint32(s.typ), Link: s.link}
		names += s.name + "\x00"
	}
	all[len(all)-1].data = []byte(names)

	at := uint64(64 + 56*len(progs) + 64*len(heads))
	var data []byte
	place := func(b []byte) (uint64, uint64) {
		data = append(data, b...)
		at += uint64(len(b))
		return at - uint64(len(b)), uint64(len(b))
	}
	for i := range progs {
		progs[i].Off, _ = place(segments[i])
	}
	for i := range heads {
		heads[i].Off, heads[i].Size = place(all[i].data)
	}
	machine := f.machine
	if machine == 0 {
		machine = elf.EM_X86_64
	}
	h := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: 1, Ehsize: 64,
		Phoff: 64, Phentsize: 56, Phnum: uint16(len(progs)),
		Shoff: uint64(64 + 56*len(progs)), Shentsize: 64, Shnum: uint16(len(heads)), Shstrndx: uint16(len(heads) - 1),
	}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	var b bytes.Buffer
	for _, part := range []any{h, progs, heads, data} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func (f *elfFixture) addDynamic() {
	strs := "\x00"
	var dyn []byte
	for _, d := range f.dynamic {
		dyn = binary.LittleEndian.AppendUint64(dyn, uint64(d[0].(elf.DynTag)))
		dyn = binary.LittleEndian.AppendUint64(dyn, uint64(len(strs)))
		strs += d[1].(string) + "\x00"
	}
	dyn = append(dyn, make([]byte, 16)...) // DT_NULL
	link := uint32(len(f.sections) + 2)    // after the null section and .dynamic
	f.sections = append(f.sections,
		elfSection{name: ".dynamic", typ: elf.SHT_DYNAMIC, data: dyn, link: link},
		elfSection{name: ".dynstr", typ: elf.SHT_STRTAB, data: []byte(strs)})
}

func cString(s string) []byte {
	if s == "" {
		return nil
	}
	return append([]byte(s), 0)
}

// note returns one ELF note.
func note(name string, typ uint32, desc []byte) []byte {
	pad := func(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(name)+1))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(desc)))
	b = binary.LittleEndian.AppendUint32(b, typ)
	b = append(b, pad(cString(name))...)
	return append(b, pad(bytes.Clone(desc))...)
}

// pvhKernel is an ELF file that says where it is entered.
func pvhKernel(t testing.TB) []byte {
	return elfFixture{note: append(note("GNU", 3, []byte("id")), note("Xen", pvhNote, make([]byte, 8))...)}.bytes(t)
}

// bzImage wraps a payload as the kernel's build does: setup code with a header,
// then the packed kernel with its unpacked size behind it.
func bzImage(version string, packed []byte, size int) []byte {
	const sects = 3
	b := make([]byte, (sects+1)*bzSector)
	b[bzSetupSects] = sects
	copy(b[bzMagic:], "HdrS")
	le := binary.LittleEndian
	le.PutUint16(b[bzProtocol:], 0x020f)
	le.PutUint16(b[bzKernelVersion:], 0x400-bzSector)
	copy(b[0x400:], version+" (builder@host) #1\x00")
	packed = le.AppendUint32(bytes.Clone(packed), uint32(size))
	le.PutUint32(b[bzPayloadOffset:], 16)
	le.PutUint32(b[bzPayloadLength:], uint32(len(packed)))
	b = append(b, make([]byte, 16)...) // the unpacking code
	b = append(b, packed...)
	return append(b, "signature behind it all"...)
}

// pack compresses by the name of a compression.
func pack(t testing.TB, how string, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch how {
	case "gzip":
		w = gzip.NewWriter(&out)
	case "xz":
		w, err = xz.NewWriter(&out)
	case "zstd":
		w, err = zstd.NewWriter(&out)
	case "none":
		return b
	default:
		t.Fatalf("unknown compression %q", how)
	}
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// tree writes files below a new folder and returns it.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// module returns a kernel module that says this of itself.
func module(t testing.TB, lines ...string) string {
	return string(elfFixture{modinfo: []byte(strings.Join(lines, "\x00") + "\x00")}.bytes(t))
}
