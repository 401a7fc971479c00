package layout

import (
	"go/ast"
	"go/token"
	"testing"
)

// TestNoPackageState refuses package variables other than sentinels, compiled
// regular expressions, embedded files, compile-time assertions, tables that
// nobody writes to (composite literals with an unexported name), and the
// version in package main, which the linker sets.
func TestNoPackageState(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, d := range s.file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, spec := range g.Specs {
				spec := spec.(*ast.ValueSpec)
				if linkerSets := s.file.Name.Name == "main" && spec.Names[0].Name == "version"; !linkerSets && !constantInSpirit(g, spec) {
					t.Errorf("%s: package variable %s holds state", s.at(spec), spec.Names[0].Name)
				}
			}
		}
	}
}

func constantInSpirit(g *ast.GenDecl, spec *ast.ValueSpec) bool {
	if spec.Names[0].Name == "_" || embeds(g.Doc) || embeds(spec.Doc) {
		return true
	}
	for _, v := range spec.Values {
		switch v := v.(type) {
		case *ast.CompositeLit:
			if spec.Names[0].IsExported() {
				return false
			}
		case *ast.CallExpr:
			if !constantCall(v) {
				return false
			}
		case *ast.SelectorExpr: // a sentinel of another package under our name
		default:
			return false
		}
	}
	return len(spec.Values) > 0
}

func constantCall(c *ast.CallExpr) bool {
	f, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, ok := f.X.(*ast.Ident)
	if !ok {
		return false
	}
	switch pkg.Name + "." + f.Sel.Name {
	case "errors.New", "fmt.Errorf", "regexp.MustCompile":
		return true
	}
	return false
}

func embeds(doc *ast.CommentGroup) bool {
	if doc == nil {
		return false
	}
	for _, c := range doc.List {
		if len(c.Text) > 10 && c.Text[:10] == "//go:embed" {
			return true
		}
	}
	return false
}
