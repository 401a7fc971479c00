package configs

import (
	"fmt"
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

// String returns FIRST-LAST.
func (r CIDRange) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

// MarshalText writes r as [CIDRange.String] does. It never fails.
func (r CIDRange) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads r as [ParseCIDRange] does, and fails as it does.
func (r *CIDRange) UnmarshalText(text []byte) error {
	in, err := ParseCIDRange(string(text))
	if err == nil {
		*r = in
	}
	return err
}

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
	d := newDocument()
	var s Settings
	d.mapping(d.load(name, text), "the settings", func(key, value *yaml.Node) {
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
