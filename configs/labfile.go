package configs

import (
	"cmp"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxMachines is more than one host has room for.
const maxMachines = 10_000

// A LabFile is the text of a file that declares a lab, or some of one.
type LabFile struct {
	Name string // for errors
	Dir  string // absolute; relative paths in the file begin here
	Text []byte
}

// LabOptions are what a lab is read with besides its files.
type LabOptions struct {
	Name     string                      // instead of the name in the file
	Profiles []string                    // which machines with profiles are in it
	Getenv   func(string) (string, bool) // for ${VAR}, as os.LookupEnv; nil for none
}

// ReadLab reads the lab that files declare together: later ones are laid over
// earlier ones, mappings key by key, everything else as a whole. It fails with
// [FileErrors], all mistakes at once, in the order of the files.
func ReadLab(files []LabFile, o LabOptions) (Lab, error) {
	r := newLabReader(files, o)
	var top *yaml.Node
	for _, f := range files {
		n := r.load(f.Name, f.Text)
		r.interpolate(n, r.options.Getenv)
		top = r.over(top, n)
	}
	if len(r.errs) == 0 {
		r.read(top, files)
	}
	if len(r.errs) == 0 {
		r.check()
	}
	if len(r.errs) > 0 {
		r.sort(files)
		return Lab{}, r.errs
	}
	return r.lab, nil
}

// A labReader is a lab while it is read.
type labReader struct {
	*document
	dirs    map[string]string // where a file's relative paths begin
	options LabOptions

	lab      Lab
	declared map[string]*yaml.Node // namespaces, by name
	machines *yaml.Node            // machines as they were written
	defaults *yaml.Node
	where    map[string]*yaml.Node            // the key of each machine of the file
	fields   map[string]map[string]*yaml.Node // the value of each field of each machine
	inactive map[string]bool                  // machines whose profiles are not asked for
}

func newLabReader(files []LabFile, o LabOptions) *labReader {
	r := &labReader{document: newDocument(), dirs: map[string]string{}, options: o}
	if r.options.Getenv == nil {
		r.options.Getenv = func(string) (string, bool) { return "", false }
	}
	for _, f := range files {
		r.dirs[f.Name] = f.Dir
	}
	r.begin()
	return r
}

// begin makes room for what is read.
func (r *labReader) begin() {
	r.declared, r.where, r.inactive = map[string]*yaml.Node{}, map[string]*yaml.Node{}, map[string]bool{}
	r.fields = map[string]map[string]*yaml.Node{}
}

// sort puts the mistakes into the order of the files, and drops what was found
// twice: a default is read for each machine.
func (r *labReader) sort(files []LabFile) {
	order := map[string]int{}
	for i, f := range files {
		order[f.Name] = i
	}
	slices.SortStableFunc(r.errs, func(a, b *FileError) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	r.errs = slices.CompactFunc(r.errs, func(a, b *FileError) bool { return *a == *b })
}

// read reads the top of the file.
func (r *labReader) read(top *yaml.Node, files []LabFile) {
	if isNull(top) && len(files) > 0 {
		r.errs = append(r.errs, &FileError{files[0].Name, 1, 1, "declares no machines"})
		return
	}
	var keys []string
	for _, k := range labKeys() {
		keys = append(keys, k.name)
	}
	r.mapping(top, "a lab", func(key, v *yaml.Node) {
		if strings.HasPrefix(key.Value, "x-") || !r.known(key, keys...) {
			return // x-… is the writer's own, for anchors
		}
		switch key.Value {
		case "name":
			if !r.text(key, v, &r.lab.Name) {
				return
			}
			if err := validLabName(r.lab.Name); err != nil {
				r.fail(v, "name %q: %v", r.lab.Name, err)
			}
		case "namespaces":
			r.mapping(v, "namespaces", r.namespace)
		case "defaults":
			r.defaults = v
			r.mapping(v, "defaults", func(key, _ *yaml.Node) { r.known(key, machineKeyNames()...) })
		case "machines":
			r.machines = v
		}
	})
	r.name(files)
	r.mapping(r.machines, "machines", r.machine)
	if len(r.where) == 0 && len(r.errs) == 0 {
		r.fail(top, "declares no machines")
	}
}

// name settles what the lab is called: as asked for, as the file says, or as the
// folder it lies in is.
func (r *labReader) name(files []LabFile) {
	switch {
	case r.options.Name != "":
		r.lab.Name = r.options.Name
	case r.lab.Name == "" && len(files) > 0:
		r.lab.Name = folderName(files[0].Dir)
	}
}

var notInNames = regexp.MustCompile(`[^a-z0-9-]+`)

// folderName makes the name of a lab out of that of a folder.
func folderName(dir string) string {
	name := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(filepath.Base(dir)), "-"), "-")
	if name == "" {
		return "lab"
	}
	return name[:min(len(name), maxLabName)]
}

// maxLabName leaves room for the machine's name in a name of 63.
const maxLabName = 30

var labName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,29}$`)

// validLabName: without a dot, which parts it from the machine's name.
func validLabName(s string) error {
	if labName.MatchString(s) {
		return nil
	}
	return fmt.Errorf("want 1 to %d of a-z 0-9 - and a letter or digit first", maxLabName)
}

var partName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,29}$`)

// validPart is about what is named in a lab: machines and namespaces.
func validPart(s string) error {
	if partName.MatchString(s) {
		return nil
	}
	return fmt.Errorf("want 1 to 30 of a-z 0-9 - and a letter or digit first")
}

// namespace reads one of the namespaces.
func (r *labReader) namespace(key, v *yaml.Node) {
	ns := LabNamespace{Name: key.Value}
	if err := validPart(ns.Name); err != nil {
		r.fail(key, "namespace %q: %v", ns.Name, err)
	}
	r.declared[ns.Name] = key
	var adopt string
	var at *yaml.Node
	r.mapping(v, "namespace "+ns.Name, func(key, v *yaml.Node) {
		if !r.known(key, "vsock", "adopt") {
			return
		}
		switch key.Value {
		case "vsock":
			r.text(key, v, &ns.Vsock)
			if ns.Vsock != VsockGlobal && ns.Vsock != VsockLocal {
				r.fail(v, "vsock %q: want global or local", ns.Vsock)
			}
		case "adopt":
			at = v
			r.text(key, v, &adopt)
		}
	})
	switch {
	case at == nil:
		if ns.Vsock == "" {
			ns.Vsock = VsockLocal
		}
	case adopt == "" || validNetns(adopt) != nil:
		r.fail(at, "adopt %q: want the name or path of a namespace, or pid:N", adopt)
	default:
		ns.Adopt, ns.Netns = true, adopt
	}
	r.lab.Namespaces = append(r.lab.Namespaces, ns)
}

// machine reads one of the machines, all replicas of it.
func (r *labReader) machine(key, v *yaml.Node) {
	role := key.Value
	r.where[role] = key
	if err := validPart(role); err != nil {
		r.fail(key, "machine %q: %v", role, err)
	}
	whole := r.inherit(key, v, nil)
	m := machineEntry{LabMachine: LabMachine{Role: role}}
	m.DependsOn = map[string]string{}
	r.fields[role] = map[string]*yaml.Node{"name": key}
	r.mapping(whole, "machine "+role, func(key, v *yaml.Node) {
		if strings.HasPrefix(key.Value, "x-") || !r.known(key, machineKeyNames()...) || isNull(v) {
			return
		}
		for _, k := range machineKeys() {
			if k.name == key.Value {
				r.fields[role][k.field()] = v
				k.read(r, key, v, &m)
			}
		}
	})
	if len(m.profiles) > 0 && !slices.ContainsFunc(m.profiles, func(p string) bool { return slices.Contains(r.options.Profiles, p) }) {
		r.inactive[role] = true
		return
	}
	r.replicate(m)
}

// replicate adds the machines that an entry stands for.
func (r *labReader) replicate(m machineEntry) {
	if m.replicas == nil {
		m.Service = m.Role
		r.lab.Machines = append(r.lab.Machines, m.LabMachine)
		return
	}
	if len(r.lab.Machines)+*m.replicas > maxMachines {
		r.fail(r.at(m.Role, "replicas"), "replicas: more than %d machines", maxMachines)
		return
	}
	for i := 1; i <= *m.replicas; i++ {
		one := m.LabMachine
		one.Replica, one.Service = i, fmt.Sprintf("%s-%d", m.Role, i)
		r.lab.Machines = append(r.lab.Machines, one)
	}
}

// inherit returns the machine v over what it extends, and that over the
// defaults. Open are the machines that extend it.
func (r *labReader) inherit(key, v *yaml.Node, open []string) *yaml.Node {
	from := value(v, "extends")
	if isNull(from) {
		return r.over(r.defaults, v)
	}
	name := from.Value
	base := value(r.machines, name)
	switch {
	case from.Kind != yaml.ScalarNode:
		r.fail(from, "extends: want the name of a machine")
	case base == nil:
		r.fail(from, "extends %q: no such machine%s", name, r.meant(name, r.machineNames()))
	case name == key.Value || slices.Contains(open, name):
		r.fail(from, "extends %q: which extends %q in turn", name, key.Value)
	default:
		return r.over(r.inherit(from, base, append(open, key.Value)), v)
	}
	return r.over(r.defaults, v)
}

func (r *labReader) machineNames() []string {
	var names []string
	if r.machines != nil {
		for _, k := range evens(r.machines.Content) {
			names = append(names, k.Value)
		}
	}
	return names
}

// meant says which of names may have been meant by name, for the end of an
// error.
func (r *labReader) meant(name string, names []string) string {
	switch near := nearest(name, names); {
	case near != "":
		return fmt.Sprintf(" (did you mean %s?)", near)
	case len(names) == 0:
		return " (there are none)"
	case len(names) > maxListed:
		return ""
	}
	return fmt.Sprintf(" (there are: %s)", strings.Join(names, ", "))
}

// text reads a scalar as it is written.
func (d *document) text(key, v *yaml.Node, to *string) bool {
	if v.Kind != yaml.ScalarNode {
		d.fail(v, "%s: want one value", key.Value)
		return false
	}
	if isNull(v) {
		*to = ""
		return true
	}
	*to = v.Value
	return true
}

// number reads a whole number from least to most.
func (d *document) number(key, v *yaml.Node, least, most int64) (int64, bool) {
	var s string
	if !d.text(key, v, &s) {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < least || n > most {
		d.fail(v, "%s %q: want a whole number from %d to %d", key.Value, s, least, most)
		return 0, false
	}
	return n, true
}

// texts reads a list of scalars; one scalar is a list of one.
func (d *document) texts(key, v *yaml.Node, to *[]string) {
	if v.Kind == yaml.ScalarNode {
		*to = []string{v.Value}
		return
	}
	if v.Kind != yaml.SequenceNode {
		d.fail(v, "%s: want a list", key.Value)
		return
	}
	*to = nil
	for _, n := range v.Content {
		var s string
		if d.text(key, n, &s) {
			*to = append(*to, s)
		}
	}
}

// labelled reads a mapping of scalars.
func (d *document) labelled(key, v *yaml.Node, to *map[string]string) {
	all := map[string]string{}
	d.mapping(v, key.Value, func(k, v *yaml.Node) {
		var s string
		if d.text(k, v, &s) {
			all[k.Value] = s
		}
	})
	*to = all
}

// path reads the name or path of a file; a relative path begins where its file
// lies.
func (r *labReader) path(key, v *yaml.Node, to *string) {
	if r.text(key, v, to) && strings.Contains(*to, "/") {
		*to = r.from(v, *to)
	}
}

// file reads the path of a file, where nothing but a file can be meant.
func (r *labReader) file(key, v *yaml.Node, to *string) {
	if r.text(key, v, to) && *to != "" {
		*to = r.from(v, *to)
	}
}

// from returns path, which stands at v, as an absolute one.
func (r *labReader) from(v *yaml.Node, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(r.dirs[r.files[v]], path)
}

// flag reads true or false.
func (d *document) flag(key, v *yaml.Node, to *bool) {
	var s string
	if !d.text(key, v, &s) {
		return
	}
	switch s {
	case "true", "false":
		*to = s == "true"
	default:
		d.fail(v, "%s %q: want true or false", key.Value, s)
	}
}
