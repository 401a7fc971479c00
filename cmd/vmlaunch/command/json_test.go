package command

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/cidalloc"
	"github.com/vmlaunch/vmlaunch/image"
	"github.com/vmlaunch/vmlaunch/internal/layout"
	"github.com/vmlaunch/vmlaunch/lab"
	"github.com/vmlaunch/vmlaunch/launcher"
	"github.com/vmlaunch/vmlaunch/scenario"
)

// TestDocsJSON holds docs/JSON.md to what the commands print.
func TestDocsJSON(t *testing.T) {
	var b strings.Builder
	for _, c := range []struct {
		command string
		v       any
	}{
		{"ls", []machineJSON{}},
		{"inspect", inspectJSON{}},
		{"cid ls", []cidalloc.Row{}},
		{"cid check, cid who", cidalloc.Status{}},
		{"cid reserve", reservedJSON{}},
		{"netns ls, netns inspect", netnsJSON{}},
		{"snapshot ls", []snapshotJSON{}},
		{"plan", []lab.Change{}},
		{"scenario run", []scenario.Report{}},
		{"repair", []launcher.Repair{}},
		{"image ls, image pull, image build", []image.Entry{}},
		{"image ls --catalog", []catalogJSON{}},
		{"nest ls", []nestJSON{}},
		{"state check", stateJSON{}},
		{"state dump", dumpJSON{}},
		{"doctor", doctorJSON{}},
		{"version", versionJSON{}},
	} {
		fmt.Fprintf(&b, "### %s\n\n| field | JSON type |\n|---|---|\n", c.command)
		fields(&b, "", reflect.TypeOf(c.v))
		b.WriteString("\n")
	}
	layout.Block(t, "docs/JSON.md", "fields", b.String())
}

// fields writes a line for every JSON field of t, nested ones with their path.
func fields(b *strings.Builder, prefix string, t reflect.Type) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Slice {
		fields(b, prefix+"[]", t.Elem())
		return
	}
	if t.Kind() == reflect.Map {
		fields(b, prefix+".*", t.Elem())
		return
	}
	if isText(t) || t.Kind() != reflect.Struct {
		fmt.Fprintf(b, "| `%s` | %s |\n", prefix, jsonType(t))
		return
	}
	for f := range fieldsOf(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		path := strings.TrimPrefix(prefix+"."+name, ".")
		if f.Anonymous {
			path = prefix
		}
		var sub strings.Builder
		fields(&sub, path, f.Type)
		text := sub.String()
		if strings.Contains(options, "omit") {
			const note = ", may be left out |\n"
			text = strings.ReplaceAll(strings.ReplaceAll(text, note, " |\n"), " |\n", note)
		}
		b.WriteString(text)
	}
}

func fieldsOf(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if f := t.Field(i); (f.IsExported() || f.Anonymous) && !yield(f) {
				return
			}
		}
	}
}

func isText(t reflect.Type) bool {
	return t == reflect.TypeFor[time.Time]() || reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextMarshaler]())
}

func jsonType(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return "string (RFC 3339 time)"
	case isText(t), t.Kind() == reflect.String:
		return "string"
	case t.Kind() == reflect.Bool:
		return "boolean"
	}
	return "number"
}

// TestJSONListsAreNeverNull shows that an empty list is a list.
func TestJSONListsAreNeverNull(t *testing.T) {
	for _, args := range [][]string{{"ls"}, {"cid", "ls"}, {"cid", "ls", "--all"}, {"image", "ls"}, {"nest", "ls"}, {"netns", "ls"}} {
		got := vmlaunch(t, append(args, "--output", "json")...)
		var list []any
		if err := json.Unmarshal([]byte(got.stdout), &list); err != nil || list == nil {
			t.Errorf("%q printed %q (%v), exit code %d, %s", args, got.stdout, err, got.code, got.stderr)
		}
	}
}
