package command

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"text/template"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// A report is what a command prints: data for programs, and the same as a
// table for people.
type report struct {
	data any      // marshalled to JSON; a slice is a list
	head []string // column titles
	wide int      // the last wide columns are shown by --output wide only
	rows [][]string
	name func(i int) string // of row i, for --quiet, which leaves out those without; nil if no row has one
}

// formats are the values of --output.
func formats() []string { return []string{"table", "wide", "json", "yaml", "template="} }

// validFormat fails on a value that --output does not know, or a template that
// does not parse.
func validFormat(format string) error {
	if text, ok := strings.CutPrefix(format, "template="); ok {
		if _, err := template.New("output").Parse(text); err != nil {
			return usagef("--output template: %w", err)
		}
		return nil
	}
	for _, f := range formats() {
		if f == format {
			return nil
		}
	}
	return usagef("--output %q: want %s", format, strings.Join(formats(), ", "))
}

// write prints r in the format of --output. quiet prints only the names.
func (r report) write(w io.Writer, format string, quiet bool) error {
	switch text, isTemplate := strings.CutPrefix(format, "template="); {
	case isTemplate:
		return r.writeTemplate(w, text)
	case format == "json":
		return writeJSON(w, r.data)
	case format == "yaml":
		return writeYAML(w, r.data)
	case quiet && r.name != nil:
		for i := range r.rows {
			if name := r.name(i); name != "" {
				fmt.Fprintln(w, name)
			}
		}
		return nil
	}
	return r.writeTable(w, format == "wide")
}

func (r report) writeTable(w io.Writer, wide bool) error {
	columns := len(r.head)
	if !wide {
		columns -= r.wide
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{r.head}, r.rows...) {
		cells := make([]string, columns)
		for i := range cells {
			cells[i] = printable(row[i])
		}
		fmt.Fprintln(t, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
	}
	return t.Flush()
}

// printable keeps a cell on its line and off the terminal's controls: some come
// from the command lines of strangers.
func printable(s string) string {
	if s == "" {
		return "-"
	}
	return strings.ReplaceAll(harmless(s), "\n", "?")
}

// harmless takes from lines of text what a terminal would obey, the C1 controls
// too: errors repeat what guests, QEMU and other programs said.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' {
			return '?'
		}
		return r // what is no UTF-8 comes as U+FFFD
	}, text)
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// writeYAML goes by way of JSON, so that both have the same field names.
func writeYAML(w io.Writer, v any) error {
	plain, err := throughJSON(v)
	if err != nil {
		return err
	}
	out, err := yaml.Marshal(plain)
	if err != nil {
		return err
	}
	_, err = w.Write(out)
	return err
}

// writeTemplate runs the template for each element of a list, or for the one
// thing there is. The fields have their JSON names: {{.name}}.
func (r report) writeTemplate(w io.Writer, text string) error {
	t, err := template.New("output").Option("missingkey=error").Parse(text)
	if err != nil {
		return usagef("--output template: %w", err)
	}
	plain, err := throughJSON(r.data)
	if err != nil {
		return err
	}
	items, ok := plain.([]any)
	if !ok {
		items = []any{plain}
	}
	for _, item := range items {
		if err := t.Execute(w, item); err != nil {
			return usagef("--output template: %w", err)
		}
		fmt.Fprintln(w)
	}
	return nil
}

// throughJSON turns v into maps, slices and plain values with JSON's names. JSON
// is read as the YAML that it also is, which keeps whole numbers whole: a CID
// must not become 4.294967294e+09.
func throughJSON(v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var plain any
	err = yaml.Unmarshal(text, &plain)
	return plain, err
}
