package command

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
)

func cancelled(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx, cancel
}

func TestReport(t *testing.T) {
	type thing struct {
		Name string `json:"name"`
		CID  uint32 `json:"cid"`
	}
	things := []thing{{"web", 4294967294}, {"db\x1b[31m", 0}}
	r := report{
		data: things,
		head: []string{"NAME", "CID", "MORE"},
		wide: 1,
		rows: [][]string{{"web", "4294967294", "x"}, {"db\x1b[31m", "", ""}},
		name: func(i int) string { return things[i].Name },
	}
	for _, c := range []struct {
		format string
		quiet  bool
		want   string
	}{
		{"table", false, "NAME     CID\nweb      4294967294\ndb?[31m  -\n"},
		{"wide", false, "NAME     CID         MORE\nweb      4294967294  x\ndb?[31m  -           -\n"},
		{"table", true, "web\ndb\x1b[31m\n"},
		{"json", true, "[\n  {\n    \"name\": \"web\",\n    \"cid\": 4294967294\n  },\n  {\n    \"name\": \"db\\u001b[31m\",\n    \"cid\": 0\n  }\n]\n"},
		{"yaml", false, "- cid: 4294967294\n  name: web\n- cid: 0\n  name: \"db\\e[31m\"\n"},
		{"template={{.name}}={{.cid}}", false, "web=4294967294\ndb\x1b[31m=0\n"},
	} {
		t.Run(c.format, func(t *testing.T) {
			var out bytes.Buffer
			if err := r.write(&out, c.format, c.quiet); err != nil {
				t.Fatal(err)
			}
			if out.String() != c.want {
				t.Errorf("got\n%q\nwant\n%q", out.String(), c.want)
			}
		})
	}
}

func TestTemplateOfAnUnknownField(t *testing.T) {
	err := report{data: map[string]int{"a": 1}}.write(&bytes.Buffer{}, "template={{.b}}", false)
	if Of(err) != Usage {
		t.Errorf("got %v, want a usage error", err)
	}
}

// writeFile writes a file and the folders above it.
func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
