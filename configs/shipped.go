package configs

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

//go:embed scenarios
var shipped embed.FS

// ShippedScenarios returns the names of the scenarios that vmlaunch brings along,
// in order.
func ShippedScenarios() []string {
	entries, err := fs.ReadDir(shipped, "scenarios")
	if err != nil {
		panic(err) //nolint:forbidigo // it is embedded: it can't
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// ShippedScenario returns the file of the scenario called name. It fails with
// [fs.ErrNotExist].
func ShippedScenario(name string) (LabFile, error) {
	file := name + ".yaml"
	text, err := fs.ReadFile(shipped, path.Join("scenarios", file))
	if err != nil {
		return LabFile{}, fmt.Errorf("scenario %q: %w (there are: %s)", name, fs.ErrNotExist, strings.Join(ShippedScenarios(), ", "))
	}
	return LabFile{Name: file, Dir: "/", Text: text}, nil
}
