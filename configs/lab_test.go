package configs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func readOne(text string, o LabOptions) (Lab, error) {
	return ReadLab([]LabFile{{"f", "/home/me/my lab", []byte(text)}}, o)
}

const trio = `
name: trio
x-small: &small
  memory: 2M
namespaces:
  red:
  blue: {vsock: local}
  old: {adopt: /run/netns/old}
defaults:
  image: probe
  netns: red
  labels: {team: net}
machines:
  db:
    <<: *small
    cid: 42
  web:
    extends: db
    netns: blue
    depends_on: [db]
    labels: {tier: front}
  load:
    replicas: 2
    cid: 100-199
    netns: old
    ready_timeout: ${PATIENCE:-90s}
    depends_on: {web: running, db: ready}
    restart: no
  debug:
    profiles: [debug]
    cid: auto
`

func TestReadLab(t *testing.T) {
	got, err := readOne(trio, LabOptions{})
	if err != nil {
		t.Fatal(err)
	}
	load := LabMachine{
		Machine: Machine{Image: ImageProbe, Netns: "old", CIDRange: CIDRange{100, 199}, Labels: map[string]string{"team": "net"}, ReadyTimeout: Duration(90 * time.Second)},
		Role:    "load", DependsOn: map[string]string{"web": DependsRunning, "db": DependsReady}, Restart: RestartNo,
	}
	first, second := load, load
	first.Replica, first.Service = 1, "load-1"
	second.Replica, second.Service = 2, "load-2"
	want := Lab{
		Name:       "trio",
		Namespaces: []LabNamespace{{Name: "red", Vsock: VsockLocal}, {Name: "blue", Vsock: VsockLocal}, {Name: "old", Netns: "/run/netns/old", Adopt: true}},
		Machines: []LabMachine{
			{
				Machine: Machine{Image: ImageProbe, MemoryMiB: 2, Netns: "red", CID: 42, Service: "db", Labels: map[string]string{"team": "net"}},
				Role:    "db", DependsOn: map[string]string{},
			},
			{
				Machine: Machine{Image: ImageProbe, MemoryMiB: 2, Netns: "blue", CID: 42, Service: "web", Labels: map[string]string{"team": "net", "tier": "front"}},
				Role:    "web", DependsOn: map[string]string{"db": DependsReady},
			},
			first, second,
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	var waves [][]string
	for _, w := range got.Waves() {
		var names []string
		for _, m := range w {
			names = append(names, m.Service)
		}
		waves = append(waves, names)
	}
	if d := cmp.Diff([][]string{{"db"}, {"web"}, {"load-1", "load-2"}}, waves); d != "" {
		t.Errorf("waves (-want +got):\n%s", d)
	}
}

func TestReadLabByOptions(t *testing.T) {
	env := func(name string) (string, bool) { return "5s", name == "PATIENCE" }
	got, err := readOne(trio, LabOptions{Name: "other", Profiles: []string{"debug"}, Getenv: env})
	if err != nil {
		t.Fatal(err)
	}
	last := got.Machines[len(got.Machines)-1]
	if got.Name != "other" || last.Service != "debug" || got.Machines[2].ReadyTimeout != Duration(5*time.Second) {
		t.Errorf("got %+v, want it called other, with debug, and 5s of patience", got)
	}
	got, err = readOne("machines: {a: }", LabOptions{})
	if err != nil || got.Name != "my-lab" || len(got.Machines) != 1 {
		t.Errorf("got %+v, %v, want one machine in the lab of the folder's name", got, err)
	}
}

// TestReadLabOverlays lays a second file over a first one: mappings are joined,
// lists are not, and a relative path begins where its own file lies.
func TestReadLabOverlays(t *testing.T) {
	got, err := ReadLab([]LabFile{
		{"a", "/one", []byte("machines:\n  a: {image: ./a.qcow2, kernel: ./k, qemu_args: [x, y]}\n  b: {cpus: 2}\n")},
		{"b", "/two", []byte("name: two\nmachines:\n  a: {kernel: ./k, qemu_args: [z]}\n  c: {memory: 1G}\n")},
	}, LabOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a := got.Machines[0]
	if a.Image != "/one/a.qcow2" || a.Kernel != "/two/k" || strings.Join(a.QEMUArgs, " ") != "z" {
		t.Errorf("a is %+v", a)
	}
	if len(got.Machines) != 3 || got.Machines[1].CPUs != 2 || got.Machines[2].MemoryMiB != 1024 || got.Name != "two" {
		t.Errorf("got %+v", got)
	}
}

func TestLabCopy(t *testing.T) {
	lab, err := readOne(trio, LabOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := lab.Copy("trio-2")
	if err != nil {
		t.Fatal(err)
	}
	web := c.Machines[1]
	if web.Name != "trio-2.web" || web.Lab != "trio-2" || web.Netns != "trio-2.blue" || web.Vsock != VsockLocal || web.CID != 42 || web.Service != "web" {
		t.Errorf("web is %+v", web)
	}
	if load := c.Machines[2]; load.Name != "trio-2.load-1" || load.Netns != "/run/netns/old" || load.Vsock != "" {
		t.Errorf("load-1 is %+v", load)
	}
	if lab.Machines[1].Name != "" || lab.Namespaces[0].Netns != "" {
		t.Errorf("the lab itself was changed: %+v", lab)
	}
	if _, err := lab.Copy("Trio"); err == nil {
		t.Error("a copy called Trio: no error")
	}
}

// TestLabSchema holds the schema to the keys that are read.
func TestLabSchema(t *testing.T) {
	b, err := json.Marshal(LabSchema())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range machineKeys() {
		if !strings.Contains(string(b), `"`+k.name+`":{`) {
			t.Errorf("no %s in the schema", k.name)
		}
	}
}

func TestInterpolate(t *testing.T) {
	env := func(name string) (string, bool) {
		v, ok := map[string]string{"A": "one", "EMPTY": "", "A1_b": "two"}[name]
		return v, ok
	}
	for text, want := range map[string]string{
		"": "", "plain": "plain", "$A": "one", "${A}": "one", "$A1_b-$A.": "two-one.", "$$A": "$A", "$$$A": "$one", "$NONE.": ".",
		"${NONE:-x y}": "x y", "${EMPTY:-x}": "x", "${EMPTY-x}": "", "${NONE-x}": "x", "${A:-x}": "one", "${A:?no}": "one", "${EMPTY?no}": "", "${NONE:-}": "",
		"100%": "100%",
	} {
		if got, err := Interpolate(text, env); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"$": "name of a variable", "${": "want a }", "${}": "name of a variable", "$1": "name of a variable", "${A": "want a }", "${A!}": "want ${A}",
		"${NONE:?say it}": "variable NONE: say it", "${NONE?}": "variable NONE: must be set", "${EMPTY:?}": "variable EMPTY: must be set", "a $ b": "name of a variable",
		"${A:x}": "want ${A}",
	} {
		if got, err := Interpolate(text, env); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %q, %v, want an error with %q", text, got, err, want)
		}
	}
}

// wantMistakes reads every file of a folder, at least so many, and compares what is
// said of it with the file beside it. After a wanted change: UPDATE_GOLDEN=1 go test
// ./configs.
func wantMistakes(t *testing.T, dir string, least int, read func(LabFile) error) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) < least {
		t.Fatalf("%d files (%v), want at least %d", len(files), err, least)
	}
	for _, path := range files {
		name := filepath.Base(path)
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err = read(LabFile{name, "/labs", text}); err == nil {
				t.Fatal("no mistake in it")
			}
			got, golden := err.Error()+"\n", strings.TrimSuffix(path, ".yaml")+".want"
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if d := cmp.Diff(string(want), got); err != nil || d != "" {
				t.Errorf("%v (-want +got):\n%s", err, d)
			}
		})
	}
}

func TestReadLabNamesEachMistake(t *testing.T) {
	wantMistakes(t, "testdata/badlab", 60, func(f LabFile) error {
		_, err := ReadLab([]LabFile{f}, LabOptions{})
		return err
	})
}

// TestShippedExamplesRead reads every example; e2e runs them.
func TestShippedExamplesRead(t *testing.T) {
	for _, name := range Shipped(ShippedExample) {
		f, err := ShippedFile(ShippedExample, name)
		if err != nil {
			t.Fatal(err)
		}
		if l, err := ReadLab([]LabFile{f}, LabOptions{}); err != nil || l.Name != name {
			t.Errorf("%s: %+v, %v", name, l, err)
		}
	}
}
