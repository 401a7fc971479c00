package configs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// maxNodes bounds what aliases may unfold to: hundreds of times what a large lab
// has, and too little to hurt.
const maxNodes = 200_000

// A document is what one or several YAML files say while it is read, with the
// mistakes found so far. Nodes are copies of its own, without aliases.
type document struct {
	files map[*yaml.Node]string // which file a node stands in
	errs  FileErrors
	nodes int // made so far, see maxNodes
}

func newDocument() *document { return &document{files: map[*yaml.Node]string{}} }

// load returns the top of the one document in text, nil if there is none; name
// is the file's, for errors.
func (d *document) load(name string, text []byte) *yaml.Node {
	var all []yaml.Node
	err := yaml.Load(text, &all, yaml.WithAllDocuments())
	// LoadErrors first: it also is a LoadError, its first one.
	if many, ok := errors.AsType[*yaml.LoadErrors](err); ok {
		for _, e := range many.Errors {
			d.errs = append(d.errs, loadError(name, text, e))
		}
		return nil
	}
	if one, ok := errors.AsType[*yaml.LoadError](err); ok {
		d.errs = append(d.errs, loadError(name, text, one))
		return nil
	}
	switch {
	case err != nil:
		d.errs = append(d.errs, &FileError{name, 1, 1, err.Error()})
		return nil
	case len(all) > 1:
		d.errs = append(d.errs, &FileError{name, all[1].Line, all[1].Column, "a second document: want one"})
		return nil
	case len(all) == 0 || len(all[0].Content) == 0:
		return nil
	}
	return d.unfold(name, all[0].Content[0], nil)
}

// loadError is what the YAML reader says of text. It has no position for a
// character that no file may hold, so that is looked for.
func loadError(name string, text []byte, e *yaml.LoadError) *FileError {
	if e.Mark.Line > 0 {
		return &FileError{name, e.Mark.Line, max(e.Mark.Column, 1), e.Message}
	}
	line, column := 1, 1
	for _, r := range string(text) {
		switch {
		case r == '\n':
			line, column = line+1, 1
			continue
		case r != '\t' && r != '\r' && unicode.IsControl(r) || r == unicode.ReplacementChar:
			return &FileError{name, line, column, e.Message}
		}
		column++
	}
	return &FileError{name, 1, 1, e.Message}
}

// unfold copies n with every alias replaced by what it stands for, and with the
// mappings that "<<" names merged in. Open are the anchors that n is inside of.
func (d *document) unfold(name string, n *yaml.Node, open []*yaml.Node) *yaml.Node {
	if d.nodes++; d.nodes == maxNodes {
		d.errs = append(d.errs, &FileError{name, n.Line, n.Column, fmt.Sprintf("too much: over %d values (aliases of aliases?)", maxNodes)})
	}
	if d.nodes >= maxNodes {
		return d.nothing(name, n)
	}
	if n.Kind == yaml.AliasNode {
		if slices.Contains(open, n.Alias) {
			d.errs = append(d.errs, &FileError{name, n.Line, n.Column, fmt.Sprintf("alias %q is inside what it stands for", n.Value)})
			return d.nothing(name, n)
		}
		c := d.unfold(name, n.Alias, open)
		c.Line, c.Column = n.Line, n.Column // where the user wrote it
		return c
	}
	c := *n
	c.Content, c.Anchor = nil, ""
	d.files[&c] = name
	for _, inner := range n.Content {
		c.Content = append(c.Content, d.unfold(name, inner, append(open, n)))
	}
	if c.Kind == yaml.MappingNode {
		d.mergeKeys(&c)
	}
	return &c
}

// nothing returns an empty value that stands where n does.
func (d *document) nothing(name string, n *yaml.Node) *yaml.Node {
	none := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: n.Line, Column: n.Column}
	d.files[none] = name
	return none
}

// mergeKeys carries out "<<" in a mapping: what it names is there unless the
// mapping says otherwise (YAML 1.1, type merge).
func (d *document) mergeKeys(n *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value != "<<" {
			continue
		}
		from := n.Content[i+1]
		n.Content = slices.Delete(n.Content, i, i+2)
		i -= 2
		sources := []*yaml.Node{from}
		if from.Kind == yaml.SequenceNode {
			sources = from.Content
		}
		for _, s := range sources {
			if s.Kind != yaml.MappingNode && !isNull(s) {
				d.fail(s, "<<: want a mapping, or a list of mappings")
			}
			for j := 0; s.Kind == yaml.MappingNode && j+1 < len(s.Content); j += 2 {
				if value(n, s.Content[j].Value) == nil {
					n.Content = append(n.Content, s.Content[j], s.Content[j+1])
				}
			}
		}
	}
}

// value returns what the mapping n has under key, or nil.
func value(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// over returns base with what top says on top: mappings key by key, everything
// else as a whole. Neither is changed.
func (d *document) over(base, top *yaml.Node) *yaml.Node {
	switch {
	case isNull(top):
		return base
	case isNull(base) || base.Kind != yaml.MappingNode || top.Kind != yaml.MappingNode:
		return top
	}
	both := *base
	d.files[&both] = d.files[base]
	both.Content = slices.Clone(base.Content)
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		at := slices.IndexFunc(evens(both.Content), func(k *yaml.Node) bool { return k.Value == key.Value })
		if at < 0 {
			both.Content = append(both.Content, key, value)
			continue
		}
		both.Content[2*at], both.Content[2*at+1] = key, d.over(both.Content[2*at+1], value)
	}
	return &both
}

// evens returns the keys of a mapping's content.
func evens(content []*yaml.Node) []*yaml.Node {
	var keys []*yaml.Node
	for i := 0; i+1 < len(content); i += 2 {
		keys = append(keys, content[i])
	}
	return keys
}

func isNull(n *yaml.Node) bool { return n == nil || n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func (d *document) fail(n *yaml.Node, format string, args ...any) {
	d.errs = append(d.errs, &FileError{d.files[n], n.Line, n.Column, fmt.Sprintf(format, args...)})
}

// mapping calls field for every key of n; a key without a value, and no n, is an
// empty mapping.
func (d *document) mapping(n *yaml.Node, what string, field func(key, value *yaml.Node)) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n, "%s: want keys with values", what)
		return
	}
	var seen []string
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Kind != yaml.ScalarNode:
			d.fail(key, "%s: want plain keys", what)
		case slices.Contains(seen, key.Value):
			d.fail(key, "%q is there twice", key.Value)
		default:
			seen = append(seen, key.Value)
			field(key, n.Content[i+1])
		}
	}
}

// known refuses a key that is none of names, with the one that was meant.
func (d *document) known(key *yaml.Node, names ...string) bool {
	if slices.Contains(names, key.Value) {
		return true
	}
	switch near := nearest(key.Value, names); {
	case near != "":
		d.fail(key, "unknown key %q (did you mean %s?)", key.Value, near)
	case len(names) > maxListed:
		d.fail(key, "unknown key %q", key.Value)
	default:
		d.fail(key, "unknown key %q (want %s)", key.Value, strings.Join(names, " or "))
	}
	return false
}

// maxListed is how many names an error lists: more help nobody.
const maxListed = 8

// nearest returns the one of names that was probably meant by name, or "".
func nearest(name string, names []string) (near string) {
	least := min(3, len(name))
	for _, n := range names {
		if d := distance(name, n); n != name && d < least {
			near, least = n, d
		}
	}
	return near
}

// distance counts the bytes to insert, delete or change that make a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
