package image

import (
	"debug/elf"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// linkerDirs is where the dynamic linker looks without being told, on the
// distributions we know: Debian's multiarch folders, then the common ones.
func linkerDirs() []string {
	return []string{
		"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu",
		"/lib64", "/usr/lib64", "/lib", "/usr/lib",
	}
}

// A Library is a file that a program needs to run. It has to be at Path where
// the program runs; here it is at From.
type Library struct{ Path, From string }

// Libraries returns the dynamic linker and all shared libraries that these
// programs or libraries need, in a fixed order; nothing for static ones. The
// files are read, never run. See ld.so(8) for the search that is repeated
// here. It fails with [fs.ErrNotExist] for a library that isn't found.
func Libraries(paths ...string) ([]Library, error) {
	return librariesIn(append(linkerDirs(), confDirs("/etc/ld.so.conf")...), paths...)
}

func librariesIn(dirs []string, paths ...string) ([]Library, error) {
	s := elfSearch{dirs: dirs, found: map[string]string{}}
	for _, p := range paths {
		if err := s.add(p, nil); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(s.out, func(a, b Library) int { return strings.Compare(a.Path, b.Path) })
	return s.out, nil
}

type elfSearch struct {
	dirs  []string
	found map[string]string // soname to where it was found
	out   []Library
}

// add looks at one file and goes on to what it needs. Rpath is what the
// objects that led here add to the search.
func (s *elfSearch) add(path string, rpath []string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("libraries of %s: %w", path, err)
	}
	defer f.Close()
	if linker := interpreter(f); linker != "" {
		s.keep(filepath.Base(linker), Library{Path: linker, From: linker})
	}
	needed, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("libraries of %s: %w", path, err)
	}
	runpath := dynamicPaths(f, elf.DT_RUNPATH, path)
	if len(runpath) == 0 { // DT_RPATH counts only without it, but is inherited
		rpath = append(dynamicPaths(f, elf.DT_RPATH, path), rpath...)
		runpath = rpath
	}
	for _, name := range needed {
		if s.found[name] != "" {
			continue
		}
		at, err := s.find(name, f.Class, runpath)
		if err != nil {
			return fmt.Errorf("library %s: %w, needed by %s", name, err, path)
		}
		s.keep(name, Library{Path: at, From: at})
		if err := s.add(at, rpath); err != nil {
			return err
		}
	}
	return nil
}

func (s *elfSearch) keep(name string, l Library) {
	if s.found[name] == "" {
		s.found[name] = l.From
		s.out = append(s.out, l)
	}
}

// find returns where the linker would find the library name.
func (s *elfSearch) find(name string, class elf.Class, runpath []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range slices.Concat(runpath, s.dirs) {
		path := filepath.Join(dir, name)
		f, err := elf.Open(path)
		if err != nil {
			continue // not there, or a linker script
		}
		ok := f.Class == class && f.Machine == elf.EM_X86_64
		f.Close()
		if ok {
			return path, nil
		}
	}
	return "", fs.ErrNotExist
}

// interpreter returns the dynamic linker a program asks for, "" for none.
func interpreter(f *elf.File) string {
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			// Read as far as there is a file: the size is only said.
			if b, err := io.ReadAll(io.LimitReader(p.Open(), unix.PathMax)); err == nil {
				return unix.ByteSliceToString(b)
			}
		}
	}
	return ""
}

// dynamicPaths returns the search path in a dynamic tag, with $ORIGIN replaced.
func dynamicPaths(f *elf.File, tag elf.DynTag, path string) []string {
	values, err := f.DynString(tag)
	if err != nil {
		return nil // no dynamic section: a static program
	}
	origin := strings.NewReplacer("$ORIGIN", filepath.Dir(path), "${ORIGIN}", filepath.Dir(path))
	var dirs []string
	for _, v := range values {
		for dir := range strings.SplitSeq(v, ":") {
			if dir != "" {
				dirs = append(dirs, origin.Replace(dir))
			}
		}
	}
	return dirs
}

// confDirs returns the folders named in an ld.so.conf and those it includes,
// each file read once. What can't be read adds nothing: the linker does the same.
func confDirs(path string) []string {
	var dirs []string
	seen := map[string]bool{}
	var read func(string)
	read = func(path string) {
		if seen[path] {
			return
		}
		seen[path] = true
		_ = readLines(path, func(line string) {
			line, _, _ = strings.Cut(line, "#")
			line = strings.TrimSpace(line)
			if pattern, ok := strings.CutPrefix(line, "include "); ok {
				more, _ := filepath.Glob(strings.TrimSpace(pattern)) // none for a bad pattern
				for _, m := range more {
					read(m)
				}
			} else if line != "" {
				dirs = append(dirs, line)
			}
		})
	}
	read(path)
	return dirs
}
