package layout

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// mayImport is the import graph of docs/ARCHITECTURE.md, section 4: what the
// code of a package (its tests aside) may import of this module. A package
// that is not listed fails the test, so each new one is placed on purpose.
// "internal/*" stands for every package under internal that is not for tests.
func mayImport() map[string][]string {
	return map[string][]string{
		"cmd/vmlaunch": {"cmd/vmlaunch/command"},
		"scenario":     {"lab", "fleet", "launcher", "guest", "vsock", "netns", "configs"},
		"lab":          {"fleet", "launcher", "store", "vsock", "netns", "configs"},
		"fleet":        {},

		"cmd/vmlaunch/command": {"scenario", "lab", "fleet", "launcher", "guest", "forward", "cidalloc", "image", "nest", "store", "vsock", "netns", "qmp", "configs", "internal/*"},
		"cmd/vmlaunch-guest":   {"internal/agentconfig", "internal/tunnel", "vsock", "forward"},

		"launcher": {"links", "guest", "forward", "cidalloc", "image", "store", "vsock", "netns", "qmp", "configs", "internal/*"},
		"nest":     {"guest", "image", "qmp", "configs", "internal/*"},
		"guest":    {"forward", "vsock", "netns", "qmp", "configs", "internal/*"},
		"cidalloc": {"store", "vsock", "netns", "internal/*"},
		"store":    {"vsock", "netns", "configs", "internal/proc"},
		"image":    {"configs", "internal/*"},
		"netns":    {"vsock"},

		"forward": {},
		"links":   {},
		"vsock":   {},
		"qmp":     {},
		"configs": {},

		"internal/agentconfig": {},
		"internal/paths":       {},
		"internal/proc":        {},
		"internal/tunnel":      {},
		"internal/undo":        {},

		// For tests only; nothing but tests imports these.
		"e2e":               {},
		"qmp/qmptest":       {"qmp"},
		"internal/bootdisk": {},
		"internal/fakeqemu": {},
		"internal/layout":   {},
		"internal/testenv":  {"vsock", "netns"},
	}
}

// testsMayImport adds to mayImport what only the tests of a package use.
func testsMayImport() map[string][]string {
	return map[string][]string{
		"links":              {"netns", "vsock"},          // it is tested in namespaces
		"cmd/vmlaunch-guest": {"guest", "netns", "image"}, // the agent is tested as a guest, with the client it is there for
	}
}

// forTests are the packages that no shipped code may import.
func forTests() []string {
	return []string{"e2e", "qmp/qmptest", "internal/bootdisk", "internal/fakeqemu", "internal/layout", "internal/testenv"}
}

// soleImporter names, for a module that one package is the border to, that
// package. .golangci.yml says the same with the reason for each.
func soleImporter() map[string][]string {
	return map[string][]string{
		"go.etcd.io/bbolt":                {"store"},
		"github.com/vishvananda/netns":    {"netns"},
		"github.com/vishvananda/netlink":  {"links"},
		"github.com/digitalocean/go-qemu": {"qmp", "qmp/qmptest"},
		"github.com/spf13/cobra":          {"cmd/vmlaunch/command"},
		"github.com/spf13/pflag":          {"cmd/vmlaunch/command"},
	}
}

func allowed(pkg, imp string, may []string) bool {
	if pkg == imp {
		return true // an external test imports the package it tests
	}
	return slices.Contains(may, imp) ||
		slices.Contains(may, "internal/*") && strings.HasPrefix(imp, "internal/") && !slices.Contains(forTests(), imp)
}

func TestImportGraph(t *testing.T) {
	graph := mayImport()
	for _, p := range packages(t) {
		may, listed := graph[p.rel]
		if !listed {
			t.Errorf("package %s is not placed: add it to mayImport and to docs/ARCHITECTURE.md, section 4", p.rel)
			continue
		}
		for _, imp := range ours(p.Imports) {
			if !allowed(p.rel, imp, may) {
				t.Errorf("%s imports %s, which docs/ARCHITECTURE.md does not allow", p.rel, imp)
			}
		}
	}
}

// TestTestsImportDownwards holds tests to the same direction: a test may use
// what its package may use, and the packages made for tests.
func TestTestsImportDownwards(t *testing.T) {
	graph := mayImport()
	for _, p := range packages(t) {
		reach := append(reachable(graph, p.rel), testsMayImport()[p.rel]...)
		for _, imp := range ours(append(p.TestImports, p.XTestImports...)) {
			if imp == p.rel || slices.Contains(forTests(), imp) || slices.Contains(reach, imp) || strings.HasPrefix(imp, "internal/") {
				continue
			}
			if slices.Contains(forTests(), p.rel) {
				continue // a test about the whole tree may look at all of it
			}
			t.Errorf("tests of %s import %s, which is not below it", p.rel, imp)
		}
	}
}

func TestOneBorderForEachForeignModule(t *testing.T) {
	for _, p := range packages(t) {
		for module, owners := range soleImporter() {
			for _, imp := range p.Imports {
				if (imp == module || strings.HasPrefix(imp, module+"/")) && !slices.Contains(owners, p.rel) {
					t.Errorf("%s imports %s; only %s does", p.rel, imp, strings.Join(owners, " and "))
				}
			}
		}
	}
}

// TestDocsImportGraph holds the table in docs/ARCHITECTURE.md to mayImport.
func TestDocsImportGraph(t *testing.T) {
	graph := mayImport()
	var b strings.Builder
	b.WriteString("| package | may import |\n|---|---|\n")
	for _, pkg := range slices.Sorted(maps.Keys(graph)) {
		imports := strings.Join(graph[pkg], ", ")
		if imports == "" {
			imports = "–"
		}
		if slices.Contains(forTests(), pkg) {
			imports += " (for tests only)"
		}
		fmt.Fprintf(&b, "| %s | %s |\n", pkg, imports)
	}
	Block(t, "docs/ARCHITECTURE.md", "imports", b.String())
}

// TestGraphIsCheckedForReal shows that the rules above can fail.
func TestGraphIsCheckedForReal(t *testing.T) {
	graph := mayImport()
	for _, c := range []struct{ pkg, imp string }{
		{"vsock", "netns"}, {"launcher", "nest"}, {"store", "launcher"}, {"launcher", "internal/fakeqemu"}, {"cmd/vmlaunch", "launcher"},
	} {
		if allowed(c.pkg, c.imp, graph[c.pkg]) {
			t.Errorf("%s may import %s, want it refused", c.pkg, c.imp)
		}
	}
}

func reachable(graph map[string][]string, from string) []string {
	var seen []string
	todo := []string{from}
	for len(todo) > 0 {
		pkg := todo[0]
		todo = todo[1:]
		for _, imp := range graph[pkg] {
			if !slices.Contains(seen, imp) {
				seen = append(seen, imp)
				todo = append(todo, imp)
			}
		}
	}
	return seen
}
