package configs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseSettings(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want map[string]CIDRange
	}{
		"nothing":        {"", nil},
		"a comment":      {"# cid:\n", nil},
		"a key only":     {"cid:\n", nil},
		"two keys only":  {"cid:\n  range:\n", map[string]CIDRange{}},
		"as documented":  {"cid:\n  range:\n    global: 10000-19999    # all\n    local: 100-999\n    red: 42-99\n", map[string]CIDRange{"global": {10000, 19999}, "local": {100, 999}, "red": {42, 99}}},
		"one number":     {"cid: {range: {red: 42-42}}", map[string]CIDRange{"red": {42, 42}}},
		"all":            {`cid: {range: {local: "3-4294967294"}}`, map[string]CIDRange{"local": {3, 4294967294}}},
		"by alias":       {"cid: {range: {red: &a 3-4, blue: *a}}", map[string]CIDRange{"red": {3, 4}, "blue": {3, 4}}},
		"named by digit": {"cid: {range: {7: 3-4}}", map[string]CIDRange{"7": {3, 4}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseSettings("f", []byte(tt.text))
			if d := cmp.Diff(Settings{tt.want}, got); d != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, d)
			}
		})
	}
}

func TestParseSettingsNamesEachMistake(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"unknown key, near":  {"cidd: {}\n", `f:1:1: unknown key "cidd" (did you mean cid?)`},
		"unknown key, far":   {"network: {}\n", `f:1:1: unknown key "network" (want cid)`},
		"unknown inner key":  {"cid:\n  ragne: {}\n", `f:2:3: unknown key "ragne" (did you mean range?)`},
		"no keys":            {"42\n", "f:1:1: the settings: want keys with values"},
		"a list":             {"cid:\n  range: [1-2]\n", "f:2:10: cid.range: want keys with values"},
		"a path":             {"cid:\n  range:\n    /run/netns/red: 3-4\n", `f:3:5: "/run/netns/red": want global, local, or the name of a local namespace`},
		"a process":          {"cid:\n  range:\n    pid:1: 3-4\n", `f:3:5: "pid:1": want global, local, or the name of a local namespace`},
		"no range":           {"cid: {range: {red: 42}}\n", `f:1:20: red: range "42": want FIRST-LAST, such as 100-999`},
		"empty range":        {"cid: {range: {red: }}\n", `f:1:20: red: range "": want FIRST-LAST, such as 100-999`},
		"range of a list":    {"cid: {range: {red: [1]}}\n", `f:1:20: red: want FIRST-LAST, such as 100-999`},
		"range from 2":       {"cid: {range: {red: 2-9}}\n", `f:1:20: red: range "2-9": guests can have 3 to 4294967294`},
		"range to any":       {"cid: {range: {red: 3-4294967295}}\n", `f:1:20: red: range "3-4294967295": guests can have 3 to 4294967294`},
		"backwards":          {"cid: {range: {red: 9-3}}\n", `f:1:20: red: range "9-3": ends before it begins`},
		"twice":              {"cid:\n  range: {red: 3-4, red: 5-6}\n", `f:2:21: "red" is there twice`},
		"two mistakes":       {"cdi: {}\ncid:\n  range: {red: x}\n", "f:1:1: unknown key \"cdi\" (did you mean cid?)\nf:3:16: red: range \"x\": want FIRST-LAST, such as 100-999"},
		"two documents":      {"cid:\n---\ncid:\n", "f:2:1: a second document: want one"},
		"a tab":              {"cid:\n\trange: 1\n", "f:2:1: "},
		"an unfinished list": {"cid: [\n", "f:2:1: "},
		"an alias":           {"cid: &a {}\nx: *a\n", `f:2:1: unknown key "x" (want cid)`},
		"a bad alias":        {"cid: {range: {red: &a 3-4, blue: &b [*b]}}\n", "f:1:38: alias \"b\" is inside what it stands for\nf:1:34: blue: want FIRST-LAST, such as 100-999"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseSettings("f", []byte(tt.text))
			if err == nil || got.CIDRanges != nil {
				t.Fatalf("got %+v, %v, want %q", got, err, tt.want)
			}
			if text := err.Error(); text != tt.want && !(strings.HasSuffix(tt.want, ": ") && strings.HasPrefix(text, tt.want) && len(text) > len(tt.want)) {
				t.Errorf("got  %s\nwant %s", text, tt.want)
			}
		})
	}
}

func FuzzParseSettings(f *testing.F) {
	for _, s := range []string{
		"", "cid:\n  range:\n    global: 10000-19999\n    red: 42-99\n", "cid: {range: {red: 9-3}}", "a: &a [*a]", "---\n---\n", "cid: !!binary x",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ParseSettings("f", text)
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if line == "" {
					t.Errorf("an empty line in %q", err)
				}
			}
			if s.CIDRanges != nil {
				t.Errorf("%v and %+v", err, s)
			}
			return
		}
		for key, r := range s.CIDRanges {
			if key == "" || r.First < firstCID || r.Last > lastCID || r.First > r.Last {
				t.Errorf("%q: %+v", key, r)
			}
		}
	})
}

func FuzzParseCIDRange(f *testing.F) {
	for _, s := range []string{"3-4294967294", "42-42", "9-3", "-", "1-2-3", "+3-4", "3-4294967295", "03-04"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseCIDRange(s)
		if ok := r.First >= firstCID && r.Last <= lastCID && r.First <= r.Last; ok == (err != nil) {
			t.Errorf("%q: got %+v, %v", s, r, err)
		}
	})
}
