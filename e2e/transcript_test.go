package e2e

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// An exchange is one command of a transcript and what it printed.
type exchange struct{ command, output string }

// readTranscript reads a console transcript: a command stands behind "# ", what it
// printed, on either stream, on the lines below.
func readTranscript(t *testing.T, path string) []exchange {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []exchange
	for line := range strings.Lines(string(text)) {
		if command, ok := strings.CutPrefix(line, "# "); ok {
			all = append(all, exchange{command: strings.TrimSpace(command)})
		} else {
			all[len(all)-1].output += line
		}
	}
	return all
}

// varying is what differs from run to run: process ids, times, and the widths of
// columns that hold them.
var varying = []struct {
	pattern *regexp.Regexp
	text    string
}{
	{regexp.MustCompile(`\bpid \d+`), "pid N"},
	{regexp.MustCompile(`\b(\d+h)?(\d+m)?\d+s\b`), "TIME"},
	{regexp.MustCompile(` +`), " "},
}

func steady(output string) string {
	for _, v := range varying {
		output = v.pattern.ReplaceAllString(output, v.text)
	}
	return output
}

// play runs the commands of a transcript and wants its output. `echo $?` is about
// the command before it.
func (h *host) play(path string) {
	h.t.Helper()
	last := 0
	for _, e := range readTranscript(h.t, path) {
		got := ""
		if e.command == "echo $?" {
			got = fmt.Sprintln(last)
		} else {
			words := strings.Fields(e.command)
			if words[0] != "vmlaunch" {
				h.t.Fatalf("%s: command %q is not vmlaunch's", path, e.command)
			}
			r := h.run(words[1:]...)
			got, last = r.stdout+r.stderr, r.code
		}
		if got, want := steady(got), steady(e.output); got != want {
			h.t.Errorf("# %s\n%s\nwant\n%s", e.command, got, want)
		}
	}
}
