package netns_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestKernelPageNamesRealTests holds docs/KERNEL.md to the tests it points to,
// and the tests of numbered facts to the page.
func TestKernelPageNamesRealTests(t *testing.T) {
	page, err := os.ReadFile("../docs/KERNEL.md")
	if err != nil {
		t.Skipf("not in the source tree (the compiled test runs elsewhere): %v", err)
	}
	var files []string
	for _, dir := range []string{"../vsock", "../netns", "../guest", "../e2e"} {
		more, err := filepath.Glob(dir + "/*_test.go")
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, more...)
	}
	var code strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(text)
	}
	name := regexp.MustCompile(`\bTest[A-Z]\w+`)
	for _, test := range name.FindAllString(string(page), -1) {
		if !strings.Contains(code.String(), "func "+test+"(") {
			t.Errorf("docs/KERNEL.md names %s, which is not there", test)
		}
	}
	for _, test := range regexp.MustCompile(`func (TestFact\w+)`).FindAllStringSubmatch(code.String(), -1) {
		if !strings.Contains(string(page), test[1]) {
			t.Errorf("%s is not on docs/KERNEL.md", test[1])
		}
	}
}
