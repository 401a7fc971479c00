package layout

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/vmlaunch/vmlaunch"

// listed is what `go list -json` says about one package.
type listed struct {
	Dir, ImportPath                    string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Imports, TestImports, XTestImports []string

	rel string // the import path below the module
}

// packages lists the packages of the module.
func packages(t *testing.T) []listed {
	t.Helper()
	all, err := listOnce()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	if len(all) < 3 {
		t.Fatalf("go list found %d packages, want the whole tree", len(all))
	}
	return all
}

// listOnce asks the go command once for all tests: the tree does not change
// meanwhile.
var listOnce = sync.OnceValues(func() ([]listed, error) {
	cmd := exec.Command("go", "list", "-e", "-json=Dir,ImportPath,GoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		p.rel = strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		all = append(all, p)
	}
})

// ours keeps the imports that belong to this module, without its prefix.
func ours(imports []string) []string {
	var kept []string
	for _, imp := range imports {
		if rest, ok := strings.CutPrefix(imp, module+"/"); ok {
			kept = append(kept, rest)
		}
	}
	return kept
}

// source is one parsed Go file.
type source struct {
	pkg   string // below the module
	name  string // below the top of the tree
	test  bool
	fset  *token.FileSet
	file  *ast.File
	lines int
}

// sources parses every Go file of the module.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	for _, p := range packages(t) {
		files := append(append(append([]string(nil), p.GoFiles...), p.TestGoFiles...), p.XTestGoFiles...)
		for _, name := range files {
			fset := token.NewFileSet()
			path := filepath.Join(p.Dir, name)
			file, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Errorf("parse %s: %v", path, err)
				continue
			}
			all = append(all, source{
				pkg:   p.rel,
				name:  filepath.Join(p.rel, name),
				test:  strings.HasSuffix(name, "_test.go"),
				fset:  fset,
				file:  file,
				lines: fset.File(file.Pos()).LineCount(),
			})
		}
	}
	return all
}

// at says where n stands, for a message.
func (s source) at(n ast.Node) string {
	p := s.fset.Position(n.Pos())
	return s.name + ":" + itoa(p.Line)
}
