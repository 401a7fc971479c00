package configs

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// The CIDs that guests can have, see vsock(7).
const (
	firstCID = 3
	lastCID  = 1<<32 - 2
)

// Settings are what one host wants of vmlaunch for all its machines. The zero
// Settings want nothing.
type Settings struct {
	// CIDRanges bound the CIDs that are chosen, by space: "global" for all global
	// namespaces, "local" for each local one, or the name of one local namespace.
	CIDRanges map[string]CIDRange
}

// A CIDRange is the CIDs from First to Last, both of them in it.
type CIDRange struct{ First, Last uint32 }

// ParseCIDRange reads FIRST-LAST, two numbers that a guest can have as its CID. It
// fails on anything else.
func ParseCIDRange(s string) (CIDRange, error) {
	first, last, two := strings.Cut(s, "-")
	a, err1 := strconv.ParseUint(first, 10, 32)
	b, err2 := strconv.ParseUint(last, 10, 32)
	switch {
	case !two || err1 != nil || err2 != nil:
		return CIDRange{}, fmt.Errorf("range %q: want FIRST-LAST, such as 100-999", s)
	case a < firstCID || b > lastCID:
		return CIDRange{}, fmt.Errorf("range %q: guests can have %d to %d", s, firstCID, lastCID)
	case a > b:
		return CIDRange{}, fmt.Errorf("range %q: ends before it begins", s)
	}
	return CIDRange{uint32(a), uint32(b)}, nil
}

// ParseSettings reads the text of a settings file; name is for the errors. An
// empty file is fine. It fails with [FileErrors], all mistakes at once.
func ParseSettings(name string, text []byte) (Settings, error) {
	d := &document{name: name}
	var s Settings
	d.mapping(d.load(text), "the settings", func(key, value *yaml.Node) {
		if d.known(key, "cid") {
			d.mapping(value, "cid", func(key, value *yaml.Node) {
				if d.known(key, "range") {
					s.CIDRanges = d.ranges(value)
				}
			})
		}
	})
	if len(d.errs) > 0 {
		return Settings{}, d.errs
	}
	return s, nil
}

// ranges reads cid.range.
func (d *document) ranges(n *yaml.Node) map[string]CIDRange {
	all := map[string]CIDRange{}
	d.mapping(n, "cid.range", func(key, value *yaml.Node) {
		if strings.ContainsAny(key.Value, "/:\x00") || key.Value == "" {
			d.fail(key, "%q: want global, local, or the name of a local namespace", key.Value)
		}
		if value.Kind != yaml.ScalarNode {
			d.fail(value, "%s: want FIRST-LAST, such as 100-999", key.Value)
			return
		}
		r, err := ParseCIDRange(value.Value)
		if err != nil {
			d.fail(value, "%s: %v", key.Value, err)
		}
		all[key.Value] = r
	})
	return all
}

// A document is a YAML file while it is read, with the mistakes found so far.
type document struct {
	name string
	errs FileErrors
}

// load returns the top of the one document in text, nil if there is none.
func (d *document) load(text []byte) *yaml.Node {
	var all []yaml.Node
	err := yaml.Load(text, &all, yaml.WithAllDocuments())
	// LoadErrors first: it also is a LoadError, its first one.
	if many, ok := errors.AsType[*yaml.LoadErrors](err); ok {
		for _, e := range many.Errors {
			d.errs = append(d.errs, &FileError{d.name, e.Mark.Line, e.Mark.Column, e.Message})
		}
		return nil
	}
	if one, ok := errors.AsType[*yaml.LoadError](err); ok {
		d.errs = append(d.errs, &FileError{d.name, one.Mark.Line, one.Mark.Column, one.Message})
		return nil
	}
	switch {
	case err != nil:
		d.errs = append(d.errs, &FileError{d.name, 1, 1, err.Error()})
		return nil
	case len(all) > 1:
		d.fail(&all[1], "a second document: want one")
		return nil
	case len(all) == 0 || len(all[0].Content) == 0:
		return nil
	}
	return all[0].Content[0]
}

func (d *document) fail(n *yaml.Node, format string, args ...any) {
	d.errs = append(d.errs, &FileError{d.name, n.Line, n.Column, fmt.Sprintf(format, args...)})
}

// mapping calls field for every key of n; a key without a value, and no n, is an
// empty mapping.
func (d *document) mapping(n *yaml.Node, what string, field func(key, value *yaml.Node)) {
	if n == nil || n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
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
	for _, name := range names {
		if distance(key.Value, name) <= 2 {
			d.fail(key, "unknown key %q (did you mean %s?)", key.Value, name)
			return false
		}
	}
	d.fail(key, "unknown key %q (want %s)", key.Value, strings.Join(names, " or "))
	return false
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
