package layout

import (
	"go/ast"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The sizes at which the reader asks why. The aims, and what models of this
// kind of program measure, are in CONTRIBUTING.md.
const (
	maxFileLines     = 500
	maxTestFileLines = 900
	maxFuncLines     = 80
	maxTestFuncLines = 120 // a table is data
)

// TestSizes fails on a file or function that is too long, and reports how long
// they usually are (go test -v ./internal/layout -run Sizes).
func TestSizes(t *testing.T) {
	var files, funcs []int
	for _, s := range sources(t) {
		fileLimit, funcLimit := maxFileLines, maxFuncLines
		if s.test {
			fileLimit, funcLimit = maxTestFileLines, maxTestFuncLines
		}
		if s.lines > fileLimit {
			t.Errorf("%s has %d lines, want at most %d: find the second noun in it", s.name, s.lines, fileLimit)
		}
		if !s.test {
			files = append(files, s.lines)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			n := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1
			if n > funcLimit {
				t.Errorf("%s: %s has %d lines, want at most %d", s.at(f), f.Name.Name, n, funcLimit)
			}
			if !s.test {
				funcs = append(funcs, n)
			}
		}
	}
	t.Logf("files: %d, lines p50 %d p90 %d", len(files), percentile(files, 50), percentile(files, 90))
	t.Logf("functions: %d, lines p50 %d p90 %d", len(funcs), percentile(funcs, 50), percentile(funcs, 90))
}

// TestNoDumpingGrounds refuses names that say nothing about what is inside.
func TestNoDumpingGrounds(t *testing.T) {
	banned := []string{"util", "utils", "helper", "helpers", "common", "misc", "types"}
	for _, s := range sources(t) {
		base := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(s.name), ".go"), "_test")
		if slices.Contains(banned, base) || slices.Contains(banned, filepath.Base(s.pkg)) {
			t.Errorf("%s: name the noun it is about", s.name)
		}
	}
}

// TestNoHiddenStart refuses init functions: what runs is wired by hand in cmd.
func TestNoHiddenStart(t *testing.T) {
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: init function", s.at(f))
			}
		}
	}
}

func percentile(values []int, p int) int {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)*p/100]
}

func itoa(n int) string { return strconv.Itoa(n) }
