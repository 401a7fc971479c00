package configs

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sampleCatalog = `images:
  debian-13:
    url: https://images.example.org/debian-13-amd64.qcow2
    sha256: 9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08
    arch: amd64
    format: qcow2
    user: debian
    memory: 2G
    ready: ssh
  small:
    url: /srv/images/a,b=c "q" ü.raw
    sha256: "0000000000000000000000000000000000000000000000000000000000000000"
`

func TestParseCatalog(t *testing.T) {
	got, err := ParseCatalog("catalog.yaml", []byte(sampleCatalog))
	if err != nil {
		t.Fatal(err)
	}
	want := Catalog{
		"debian-13": {
			URL: "https://images.example.org/debian-13-amd64.qcow2", SHA256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
			Format: FormatQCOW2, User: "debian", MemoryMiB: 2048, Ready: ReadySSH,
		},
		"small": {URL: `/srv/images/a,b=c "q" ü.raw`, SHA256: strings.Repeat("0", 64)},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if empty, err := ParseCatalog("x", nil); err != nil || len(empty) != 0 {
		t.Errorf("an empty file: %v, %v", empty, err)
	}
}

// TestCatalogOfTheDocs holds the example in the documents to the format.
func TestCatalogOfTheDocs(t *testing.T) {
	text, err := os.ReadFile("../docs/IMAGES.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, ok := strings.Cut(string(text), "```yaml\n")
	example, _, ok2 := strings.Cut(example, "```")
	c, err := ParseCatalog("IMAGES.md", []byte(example))
	if err != nil || !ok || !ok2 || len(c) == 0 {
		t.Errorf("%v, %v", c, err)
	}
}

func TestParseCatalogNamesAllMistakesAtOnce(t *testing.T) {
	_, err := ParseCatalog("c.yaml", []byte(`imagse: {}
images:
  linux: {url: "https://x.example.org/a", sha256: "0000000000000000000000000000000000000000000000000000000000000000"}
  Bad Name: {url: ftp://x.example.org/a, sha256: 12}
  b:
    urll: x
    arch: arm64
    format: vmdk
    memory: 1KB
    user: "a b"
    ready: soon
  c: [1]
  d:
    url:
`))
	errs, ok := errors.AsType[FileErrors](err)
	if !ok {
		t.Fatalf("got %v, want FileErrors", err)
	}
	for _, want := range []string{
		`c.yaml:1:1: unknown key "imagse" (did you mean images?)`, `c.yaml:3:3: "linux": want a name`, `c.yaml:4:3: "Bad Name": want a name`,
		`c.yaml:4:19: url "ftp://x.example.org/a": want http://`, `c.yaml:4:50: sha256 "12": want 64 hex digits`, `c.yaml:6:5: unknown key "urll" (did you mean url?)`,
		`c.yaml:7:11: arch "arm64": want x86_64 or amd64`, `c.yaml:8:13: format "vmdk": want raw or qcow2`, `c.yaml:9:13: memory "1KB"`,
		`c.yaml:10:11: user "a b"`, `c.yaml:11:12: ready "soon": want notify or ssh or none`, `c.yaml:5:3: b: want a url and its sha256`, `c.yaml:12:6: c: want keys with values`,
		`c.yaml:14:9: url: want a value`,
	} {
		if !strings.Contains(errs.Error(), want) {
			t.Errorf("want %q in\n%v", want, err)
		}
	}
}

func FuzzParseCatalog(f *testing.F) {
	f.Add([]byte(sampleCatalog))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseCatalog("c.yaml", text)
		if err != nil {
			if _, ok := errors.AsType[FileErrors](err); !ok || c != nil {
				t.Errorf("%q: got %v, %T", text, c, err)
			}
			return
		}
		for name, i := range c {
			if ValidName(name) != nil || ValidImageURL(i.URL) != nil || !sha256Hex.MatchString(i.SHA256) {
				t.Errorf("%q: got %q: %+v", text, name, i)
			}
		}
	})
}

func TestApply(t *testing.T) {
	c := CatalogImage{User: "debian", MemoryMiB: 2048, Ready: ReadySSH}
	var unsaid Machine
	said := Machine{User: "ada", MemoryMiB: 4096, Ready: ReadyNone}
	want := said
	if err := errors.Join(c.Apply(&unsaid), c.Apply(&said)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Machine{User: "debian", MemoryMiB: 2048, Ready: ReadySSH}, unsaid); d != "" {
		t.Errorf("nothing said (-want +got):\n%s", d)
	}
	if d := cmp.Diff(want, said); d != "" {
		t.Errorf("all said (-want +got):\n%s", d)
	}
	if err := c.Apply(&Machine{MemoryMiB: 512}); err == nil || !strings.Contains(err.Error(), "at least 2048M") {
		t.Errorf("too little memory: %v", err)
	}
	var small Machine
	if err := (CatalogImage{MemoryMiB: 256}).Apply(&small); err != nil || small.MemoryMiB != 0 {
		t.Errorf("the least memory of a small image became its memory: %d, %v", small.MemoryMiB, err)
	}
}
