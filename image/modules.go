package image

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Modules is a folder of kernel modules: /lib/modules/VERSION of a host, or of
// a package that was unpacked but not installed. It is not safe for concurrent
// use.
type Modules struct {
	dir     string
	files   map[string]string  // name to path, as the folder has it
	builtin map[string]bool    // names that are part of the kernel
	info    map[string]modinfo // what was read so far
}

// A Module is one module in the order it is to be loaded.
type Module struct {
	Name    string
	Path    string // below the modules' folder, unpacked: kernel/net/vmw_vsock/vsock.ko
	Content []byte // unpacked
	info    modinfo
}

// OpenModules lists the modules in dir. An installed tree has a list in
// modules.dep; a package has none and is walked. It fails with
// [fs.ErrNotExist] for a folder that is not there.
func OpenModules(dir string) (*Modules, error) {
	m := &Modules{dir: dir, files: map[string]string{}, builtin: map[string]bool{}, info: map[string]modinfo{}}
	err := readLines(filepath.Join(dir, "modules.dep"), func(line string) {
		path, _, _ := strings.Cut(line, ":")
		m.files[moduleName(path)] = path
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = m.walk()
	}
	if err != nil {
		return nil, fmt.Errorf("list modules: %w", err)
	}
	err = readLines(filepath.Join(dir, "modules.builtin"), func(line string) { m.builtin[moduleName(line)] = true })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list built-in modules: %w", err)
	}
	return m, nil
}

func (m *Modules) walk() error {
	return fs.WalkDir(os.DirFS(m.dir), "kernel", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(d.Name(), ".ko") {
			m.files[moduleName(path)] = path
		}
		return err
	})
}

func readLines(path string, line func(string)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		line(s.Text())
	}
	return s.Err()
}

// Has reports whether the kernel can have the module: as a file or built in.
func (m *Modules) Has(name string) bool {
	name = moduleName(name)
	return m.files[name] != "" || m.builtin[name]
}

// Order returns the modules of these names and all that they need, each after
// what it depends on. Built-in ones are left out. It fails with
// [fs.ErrNotExist] for a name that is neither a file nor built in, and on
// modules that depend on each other in a circle.
func (m *Modules) Order(names ...string) ([]Module, error) {
	o := order{m: m, state: map[string]visit{}}
	for _, name := range names {
		if err := o.add(moduleName(name), nil); err != nil {
			return nil, err
		}
	}
	return o.out, nil
}

type visit int

const (
	visiting visit = iota + 1
	visited
)

// order is one walk over the dependencies.
type order struct {
	m     *Modules
	state map[string]visit
	out   []Module
}

// add puts name and what it needs in the list. Chain is who asked for it.
func (o *order) add(name string, chain []string) error {
	switch {
	case o.state[name] == visited:
		return nil
	case o.state[name] == visiting:
		return fmt.Errorf("module %s: depends on itself by way of %s", name, strings.Join(chain, ", "))
	case o.m.files[name] == "" && o.m.builtin[name]:
		return nil
	case o.m.files[name] == "":
		return fmt.Errorf("module %s: %w in %s%s", name, fs.ErrNotExist, o.m.dir, neededBy(chain))
	}
	o.state[name] = visiting
	mod, err := o.m.read(name)
	if err != nil {
		return err
	}
	chain = append(slices.Clone(chain), name)
	for _, dep := range mod.info.depends {
		if err := o.add(dep, chain); err != nil {
			return err
		}
	}
	if err := o.soft(mod.info.pre, chain); err != nil {
		return err
	}
	o.state[name] = visited
	o.out = append(o.out, mod)
	return o.soft(mod.info.post, chain)
}

// soft adds those that are there and not already on their way: a soft
// dependency may be missing, and may go in circles.
func (o *order) soft(names, chain []string) error {
	for _, name := range names {
		if o.m.files[name] == "" || o.state[name] == visiting {
			continue
		}
		if err := o.add(name, chain); err != nil {
			return err
		}
	}
	return nil
}

func neededBy(chain []string) string {
	if len(chain) == 0 {
		return ""
	}
	return ", needed by " + chain[len(chain)-1]
}

// read returns the module's unpacked content with what it says about itself.
func (m *Modules) read(name string) (Module, error) {
	path := m.files[name]
	b, err := readModule(filepath.Join(m.dir, path))
	if err != nil {
		return Module{}, err
	}
	info, ok := m.info[name]
	if !ok {
		if info, err = parseModule(b); err != nil {
			return Module{}, fmt.Errorf("module %s: %w", filepath.Join(m.dir, path), err)
		}
		m.info[name] = info
	}
	plain, _, _ := strings.Cut(path, ".ko")
	return Module{Name: name, Path: plain + ".ko", Content: b, info: info}, nil
}

// moduleIndex returns the modules.dep and modules.alias by which modprobe finds
// the modules, as depmod would write them: each line of modules.dep holds all
// that a module needs, nearest first.
func moduleIndex(mods []Module) (dep, alias string) {
	byName := map[string]Module{}
	for _, m := range mods {
		byName[m.Name] = m
	}
	var d, a strings.Builder
	for _, m := range mods {
		d.WriteString(m.Path + ":")
		for _, name := range allDepends(m, byName) {
			d.WriteString(" " + byName[name].Path)
		}
		d.WriteString("\n")
		for _, pattern := range m.info.aliases {
			fmt.Fprintf(&a, "alias %s %s\n", pattern, m.Name)
		}
	}
	return d.String(), a.String()
}

// allDepends returns what m needs directly and indirectly, such that each
// stands before what it needs itself: modprobe loads from the end.
func allDepends(m Module, byName map[string]Module) []string {
	var loadOrder []string
	var add func(name string)
	add = func(name string) {
		dep, ok := byName[name]
		if !ok || slices.Contains(loadOrder, name) {
			return // built in, or already there
		}
		for _, d := range dep.info.depends {
			add(d)
		}
		loadOrder = append(loadOrder, name)
	}
	for _, d := range m.info.depends {
		add(d)
	}
	slices.Reverse(loadOrder)
	return loadOrder
}
