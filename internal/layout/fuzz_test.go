package layout

import (
	"go/ast"
	"path/filepath"
	"strings"
	"testing"
)

// TestFuzzTargetsHaveACorpus asks of each fuzz target for committed inputs, which
// every run of the unit tests goes through.
func TestFuzzTargetsHaveACorpus(t *testing.T) {
	targets := 0
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || !s.test || f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Fuzz") {
				continue
			}
			targets++
			corpus := filepath.Join(s.pkg, "testdata", "fuzz", f.Name.Name)
			inputs, err := filepath.Glob(filepath.Join(top(t), corpus, "*"))
			if err != nil || len(inputs) == 0 {
				t.Errorf("%s: %s has no input in %s: %v", s.at(f), f.Name.Name, corpus, err)
			}
		}
	}
	if targets < 10 {
		t.Errorf("found %d fuzz targets, want those of the whole tree", targets)
	}
}
