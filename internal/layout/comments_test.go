package layout

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// saysHowItFails finds in a doc comment that a failure is spoken of: an error
// by name, or one of the words for it.
var saysHowItFails = regexp.MustCompile(`\b(error|errors|fails?|failed|failure|failures|failing|refuses?|refused|Err[A-Z]\w*|\w+Error|nil if|nil when|mistakes?|[Ww]rong)\b`)

// answersAnInterface are methods whose failure the interface's own
// documentation tells.
func answersAnInterface() []string {
	return []string{
		"Accept", "Close", "Read", "Write", "ReadAt", "WriteAt", "WriteTo", "ReadFrom", "Seek", "Unwrap", "Is",
		"MarshalText", "UnmarshalText", "MarshalJSON", "UnmarshalJSON", "MarshalYAML", "UnmarshalYAML",
		"SetDeadline", "SetReadDeadline", "SetWriteDeadline",
	}
}

// TestDocCommentsSayHowItFails asks every exported function that returns an
// error to say, in its doc comment, when it does.
func TestDocCommentsSayHowItFails(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || !exported(f) || !returnsError(f) || f.Recv != nil && slices.Contains(answersAnInterface(), f.Name.Name) {
				continue
			}
			if !saysHowItFails.MatchString(f.Doc.Text()) {
				t.Errorf("%s: the comment of %s does not say when it fails", s.at(f), f.Name.Name)
			}
		}
	}
}

// TestExportedNamesAreDocumented asks for a doc comment on every exported
// function, type, and for one package comment in every package.
func TestExportedNamesAreDocumented(t *testing.T) {
	documented := map[string]bool{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		documented[s.pkg] = documented[s.pkg] || s.file.Doc.Text() != ""
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if exported(d) && d.Doc.Text() == "" && !(d.Recv != nil && slices.Contains(append(answersAnInterface(), "Error", "String"), d.Name.Name)) {
					t.Errorf("%s: %s has no doc comment", s.at(d), d.Name.Name)
				}
			case *ast.GenDecl:
				undocumentedTypes(t, s, d)
			}
		}
	}
	for pkg, has := range documented {
		if !has {
			t.Errorf("package %s has no package comment (a blank line below it makes it one of no package)", pkg)
		}
	}
}

func undocumentedTypes(t *testing.T, s source, d *ast.GenDecl) {
	if d.Tok != token.TYPE {
		return
	}
	for _, spec := range d.Specs {
		spec := spec.(*ast.TypeSpec)
		if spec.Name.IsExported() && d.Doc.Text() == "" && spec.Doc.Text() == "" && spec.Comment.Text() == "" {
			t.Errorf("%s: type %s has no doc comment", s.at(spec), spec.Name.Name)
		}
	}
}

// exported reports whether f can be called from another package.
func exported(f *ast.FuncDecl) bool {
	if !f.Name.IsExported() {
		return false
	}
	if f.Recv == nil {
		return true
	}
	name := strings.TrimPrefix(receiver(f.Recv.List[0].Type), "*")
	return ast.IsExported(name)
}

func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return "*" + receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

func returnsError(f *ast.FuncDecl) bool {
	if f.Type.Results == nil {
		return false
	}
	return slices.ContainsFunc(f.Type.Results.List, func(r *ast.Field) bool {
		id, ok := r.Type.(*ast.Ident)
		return ok && id.Name == "error"
	})
}
