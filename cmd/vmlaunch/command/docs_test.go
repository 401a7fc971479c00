package command

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/internal/layout"
	"github.com/vmlaunch/vmlaunch/launcher"
)

// TestArchitectureHasTheLaunchSteps holds the table of a launch to the code.
func TestArchitectureHasTheLaunchSteps(t *testing.T) {
	text, err := os.ReadFile("../../../docs/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		got = append(got, m[1])
	}
	if want := launcher.Steps(); !slices.Equal(got, want) {
		t.Errorf("docs/ARCHITECTURE.md has the steps\n%q, launcher.Steps\n%q", got, want)
	}
}

// TestDocsVerbs holds the table of verbs in README.md to the command tree.
func TestDocsVerbs(t *testing.T) {
	root := newRoot(&app{host: Host{Version: "v0"}})
	table := "| command | does |\n|---|---|\n"
	for _, g := range root.Groups() {
		for _, cmd := range root.Commands() {
			if cmd.GroupID == g.ID {
				table += verbRow("", cmd)
			}
		}
	}
	layout.Block(t, "README.md", "verbs", table)
}

// TestDocsTranscript shows in README.md what e2e plays in a nest.
func TestDocsTranscript(t *testing.T) {
	text, err := os.ReadFile("../../../e2e/testdata/transcript.txt")
	if err != nil {
		t.Fatal(err)
	}
	layout.Block(t, "README.md", "transcript", "```console\n"+string(text)+"```\n")
}

func verbRow(parent string, cmd *cobra.Command) string {
	if !cmd.HasSubCommands() {
		return "| `" + parent + cmd.Use + "` | " + cmd.Short + " |\n"
	}
	var rows string
	for _, sub := range cmd.Commands() {
		rows += verbRow(parent+cmd.Name()+" ", sub)
	}
	return rows
}

// TestDocsLabs holds the tables of keys and of steps to what is read.
func TestDocsLabs(t *testing.T) {
	table := func(keys []configs.Key) string {
		rows := "| key | says |\n|---|---|\n"
		for _, k := range keys {
			doc := k.Doc
			if k.Allow != nil {
				doc += ": " + strings.Join(k.Allow, ", ")
			}
			rows += "| `" + k.Name + "` | " + doc + " |\n"
		}
		return rows
	}
	layout.Block(t, "docs/LABS.md", "lab keys", table(configs.LabKeys()))
	layout.Block(t, "docs/LABS.md", "machine keys", table(configs.MachineKeys()))
	steps := "| step | does | takes | shows |\n|---|---|---|---|\n"
	for _, v := range configs.StepVerbs() {
		steps += "| `" + v.Name + "` | " + v.Doc + " | " + strings.Join(v.Fields, ", ") + " | " + strings.Join(v.Shows, ", ") + " |\n"
	}
	layout.Block(t, "docs/SCENARIOS.md", "step verbs", steps)
}
