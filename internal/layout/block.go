package layout

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Block holds the part of a document between the line "<!-- mark (make docs) -->"
// and "<!-- end -->" to want. With VMLAUNCH_WRITE_DOCS set, as `make docs` does,
// it is written instead. The file's name is below the top of the tree.
func Block(t *testing.T, file, mark, want string) {
	t.Helper()
	path := filepath.Join(top(t), file)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+mark+" (make docs) -->\n", "<!-- end -->"
	before, rest, ok := strings.Cut(string(text), begin)
	got, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s: no block %q", file, mark)
	}
	d := cmp.Diff(want, got)
	switch {
	case d == "":
	case os.Getenv("VMLAUNCH_WRITE_DOCS") == "":
		t.Errorf("%s differs from the code (make docs writes it) (-want +got):\n%s", file, d)
	default:
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// top is the top of the tree: the folder that has go.mod.
func top(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("no go.mod above the test")
	return ""
}
