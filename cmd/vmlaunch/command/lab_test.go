package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// labFile writes a lab's file and returns its path.
func labFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "odd, name.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestLabCommands runs what needs no kernel for it.
func TestLabCommands(t *testing.T) {
	good := labFile(t, "name: pair\nnamespaces: {red: }\nmachines: {a: {image: probe, netns: red, cid: 42}, b: {image: some-image, depends_on: a}}\n")
	bad := labFile(t, "name: Pair\nmachines: {a: {cpus: none}, b: {netns: blue}}\n")
	for _, c := range []struct {
		args []string
		code Code
		want []string // in what is said
	}{
		{[]string{"validate", "-f", good}, OK, []string{"lab pair: 2 machines in 1 namespaces"}},
		{[]string{"validate", "-f", bad}, Usage, []string{"odd, name.yaml:1:7: name", `odd, name.yaml:2:22: cpus "none"`}},
		{[]string{"validate", "-f", good + ".no"}, NotFound, []string{"read lab", "no such file"}},
		{[]string{"validate"}, NotFound, []string{"vmlaunch.yaml", "-f FILE"}},
		{[]string{"config", "-f", good}, OK, []string{"netns: pair.red", "name: pair.a"}},
		{[]string{"config", "-f", good, "--copies", "2", "-o", "json"}, OK, []string{`"pair-1.a"`, `"pair-2.red"`}},
		{[]string{"config", "-f", good, "--copies", "-1"}, Usage, []string{"copies -1"}},
		{[]string{"config", "-f", good, "-p", "No"}, Usage, []string{`lab "No"`}},
		{[]string{"config", "schema"}, OK, []string{`"$schema"`, `"depends_on"`}},
		{[]string{"config", "scheme"}, Usage, []string{"want nothing, schema, or example"}},
		{[]string{"config", "example"}, OK, []string{"pair\n"}},
		{[]string{"config", "example", "pair"}, OK, []string{"machines:"}},
		{[]string{"config", "example", "none"}, NotFound, []string{`example "none"`, "there are: classroom"}},
		{[]string{"plan", "-f", good}, OK, []string{"create  namespace  pair.red", "create  machine    pair.b"}},
		{[]string{"plan", "-f", good, "b"}, OK, []string{"pair.a"}},
		{[]string{"plan", "-f", good, "c"}, Usage, []string{`machine "c": lab pair has none of that name (it has: a, b)`}},
		{[]string{"plan", "-f", good, "-o", "template={{.action}}:{{.name}}"}, OK, []string{"create:pair.a\n"}},
		{[]string{"up", "-f", good, "--image", "probe"}, Usage, []string{"--image describes a machine"}},
		{[]string{"up", "-f", good}, NotFound, []string{`image "some-image"`}},
		{[]string{"down", "-f", good, "apple"}, Usage, []string{"a lab, or machines by NAME, not both"}},
		{[]string{"down", "-p", "nobody"}, OK, []string{"there is nothing of lab nobody"}},
		{[]string{"scenario", "ls", "-q"}, OK, []string{"cid-reuse-local\n"}},
		{[]string{"scenario", "show", "load"}, OK, []string{"scenario: load"}},
		{[]string{"scenario", "show", "none"}, NotFound, []string{`scenario "none"`}},
		{[]string{"scenario", "validate", "load", bad}, Usage, []string{"unknown key \"name\""}},
		{[]string{"scenario", "run"}, Usage, []string{"which one?"}},
		{[]string{"scenario", "run", "load", "--report", "html"}, Usage, []string{"want tap or junit"}},
		{[]string{"scenario", "run", "none"}, NotFound, []string{`scenario "none"`}},
	} {
		t.Run(strings.Join(c.args[:min(2, len(c.args))], " "), func(t *testing.T) {
			got := vmlaunchIn(t, t.TempDir(), nil, c.args...)
			said := got.stdout + got.stderr
			if got.code != c.code {
				t.Errorf("%q: exit code %d, want %d: %s", c.args, got.code, c.code, said)
			}
			for _, w := range c.want {
				if !strings.Contains(said, w) {
					t.Errorf("%q: no %q in %s", c.args, w, said)
				}
			}
		})
	}
}
