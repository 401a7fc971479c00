package image

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// A modinfo is what a kernel module says about itself in its .modinfo section.
type modinfo struct {
	name    string
	depends []string // must be loaded before
	pre     []string // should be loaded before, if there: softdep
	post    []string // should be loaded after, if there: softdep
	aliases []string // by which the kernel asks for it
}

// readModule returns a module's content, unpacked if its name says it is
// packed: .ko, .ko.xz and .ko.zst are known.
func readModule(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = f
	switch {
	case strings.HasSuffix(path, ".ko"):
	case strings.HasSuffix(path, ".ko.xz"):
		r, err = xz.NewReader(f)
	case strings.HasSuffix(path, ".ko.zst"):
		var z *zstd.Decoder
		if z, err = zstd.NewReader(f, zstd.WithDecoderConcurrency(1)); err == nil {
			defer z.Close()
			r = z
		}
	default:
		err = fmt.Errorf("want .ko, .ko.xz or .ko.zst")
	}
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", path, err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", path, err)
	}
	return b, nil
}

// parseModule reads the .modinfo section of an unpacked module. It fails for
// what is no ELF file or has no such section.
func parseModule(b []byte) (modinfo, error) {
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return modinfo{}, err
	}
	s := f.Section(".modinfo")
	if s == nil {
		return modinfo{}, fmt.Errorf("no .modinfo section")
	}
	data, err := s.Data()
	if err != nil {
		return modinfo{}, err
	}
	return parseModinfo(data), nil
}

// parseModinfo reads KEY=VALUE texts, each ended by a zero byte.
func parseModinfo(b []byte) modinfo {
	var m modinfo
	for text := range bytes.SplitSeq(b, []byte{0}) {
		key, value, ok := strings.Cut(string(text), "=")
		if !ok || value == "" {
			continue
		}
		switch key {
		case "name":
			m.name = moduleName(value)
		case "depends":
			for name := range strings.SplitSeq(value, ",") {
				m.depends = addName(m.depends, name)
			}
		case "alias":
			if !strings.ContainsAny(value, " \t\n") { // it would be two words of modules.alias
				m.aliases = append(m.aliases, value)
			}
		case "softdep":
			m.addSoft(value)
		}
	}
	return m
}

// addSoft reads the value of a soft dependency: "pre: a b post: c".
func (m *modinfo) addSoft(value string) {
	var to *[]string
	for _, word := range strings.Fields(value) {
		switch word {
		case "pre:":
			to = &m.pre
		case "post:":
			to = &m.post
		default:
			if to != nil {
				*to = addName(*to, word)
			}
		}
	}
}

// addName adds a module to names, unless s names none, as between two commas.
func addName(names []string, s string) []string {
	if name := moduleName(s); name != "" {
		names = append(names, name)
	}
	return names
}

// moduleName returns the name under which the kernel knows a module: of the
// file without its endings, with the underscore for the dash.
func moduleName(s string) string {
	s = s[strings.LastIndexByte(s, '/')+1:]
	s, _, _ = strings.Cut(s, ".ko")
	return strings.ReplaceAll(s, "-", "_")
}
