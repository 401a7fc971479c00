package configs

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// What vmlaunch brings along, each kind in a folder of its name.
//
//go:embed scenarios examples
var shipped embed.FS

// The kinds of files that vmlaunch brings along.
const (
	ShippedScenario = "scenarios"
	ShippedExample  = "examples" // of labs
)

// Shipped returns the names of the files of a kind, in order.
func Shipped(kind string) []string {
	entries, err := fs.ReadDir(shipped, kind)
	if err != nil {
		panic(err) //nolint:forbidigo // it is embedded: it can't
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// ShippedFile returns the file called name of a kind. It fails with
// [fs.ErrNotExist].
func ShippedFile(kind, name string) (LabFile, error) {
	file := name + ".yaml"
	text, err := fs.ReadFile(shipped, path.Join(kind, file))
	if err != nil {
		return LabFile{}, fmt.Errorf("%s %q: %w (there are: %s)", strings.TrimSuffix(kind, "s"), name, fs.ErrNotExist, strings.Join(Shipped(kind), ", "))
	}
	return LabFile{Name: file, Dir: "/", Text: text}, nil
}
