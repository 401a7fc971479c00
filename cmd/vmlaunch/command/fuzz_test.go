package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzEscapes asks that it makes no difference how what is typed is cut into
// reads, and that text without a ~ goes through as it is.
func FuzzEscapes(f *testing.F) {
	f.Add([]byte("ls\r~."), uint8(4))
	f.Fuzz(func(t *testing.T, typed []byte, cut uint8) {
		whole, detach := newEscapes().Pass(typed)
		e, at := newEscapes(), min(int(cut), len(typed))
		parts, early := e.Pass(typed[:at])
		if !early {
			var rest []byte
			rest, early = e.Pass(typed[at:])
			parts = append(parts, rest...)
		}
		if !bytes.Equal(whole, parts) || detach != early {
			t.Errorf("%q: got %q, %v; cut at %d %q, %v", typed, whole, detach, at, parts, early)
		}
		inLine, _ := new(escapes).Pass(typed)
		if doubled, _ := newEscapes().Pass(append([]byte("~~"), typed...)); string(doubled) != "~"+string(inLine) {
			t.Errorf("%q behind ~~: got %q, want ~ and %q", typed, doubled, inLine)
		}
		if !bytes.ContainsRune(typed, '~') && (detach || !bytes.Equal(whole, typed)) {
			t.Errorf("%q: got %q, %v", typed, whole, detach)
		}
	})
}

// FuzzPrinted asks of any text, in a table, as progress or as an error, that a
// terminal obeys nothing in it.
func FuzzPrinted(f *testing.F) {
	f.Add("\x1b]0;title\x07text")
	f.Fuzz(func(t *testing.T, text string) {
		var table, progressed, failed bytes.Buffer
		r := report{head: []string{"A", "B"}, rows: [][]string{{text, "b"}}}
		if err := r.write(&table, "table", false); err != nil || strings.Count(table.String(), "\n") != 2 {
			t.Errorf("%q: %v, table %q", text, err, &table)
		}
		p := progress{w: &progressed, plain: true}
		p.Say(text)
		a := &app{host: Host{Err: &failed}, started: true}
		if code := a.finish(t.Context(), errors.New(text)); code != Failure {
			t.Errorf("%q: exit code %d", text, code)
		}
		for _, out := range []string{table.String(), progressed.String(), failed.String()} {
			if !utf8.ValidString(out) || strings.ContainsFunc(out, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }) {
				t.Errorf("%q: printed as %q", text, out)
			}
		}
	})
}

// FuzzTemplate asks that a mistake in a template is the user's, and found
// before anything is done if it is one of form.
func FuzzTemplate(f *testing.F) {
	f.Add("{{.name}}: {{.cid}}")
	data := []map[string]any{{"name": "web", "cid": uint32(4294967294), "machines": []string{"a"}}}
	f.Fuzz(func(t *testing.T, text string) {
		format := "template=" + text
		err := validFormat(format)
		if err != nil && Of(err) != Usage {
			t.Errorf("%q: got %v, want a usage error", text, err)
		}
		for _, word := range []string{"range", "printf", "template", "block"} { // with which it may run for ever
			if strings.Contains(text, word) {
				return
			}
		}
		werr := report{data: data}.write(io.Discard, format, false)
		if werr != nil && Of(werr) != Usage || err != nil && werr == nil {
			t.Errorf("%q: valid: %v, written: %v", text, err, werr)
		}
	})
}

// FuzzKnownBad asks for the bad kernels whatever a distribution adds to their
// version.
func FuzzKnownBad(f *testing.F) {
	f.Add(uint8(8), "-cloud-amd64")
	f.Fuzz(func(t *testing.T, patch uint8, suffix string) {
		if suffix != "" && strings.ContainsAny(suffix[:1], "0123456789_") {
			return // another number
		}
		if release := fmt.Sprintf("7.0.%d%s", patch, suffix); knownBad(release) != (patch < 9) {
			t.Errorf("%q: known as bad: %v", release, knownBad(release))
		}
		if knownBad(suffix) && !strings.HasPrefix(suffix, "7.0") {
			t.Errorf("%q is known as bad", suffix)
		}
	})
}

// FuzzWithoutRoot takes the words of a command line, one a line. What belongs
// to the command that is to be run has to stay.
func FuzzWithoutRoot(f *testing.F) {
	f.Add("--root\n/r\nexec\na\n--\ntool\n--root\n/r", uint8(4))
	f.Fuzz(func(t *testing.T, text string, n uint8) {
		args := strings.Split(text, "\n")
		words := min(int(n), len(args))
		kept := withoutRoot(args, words)
		if len(kept) < words || !slices.Equal(kept[len(kept)-words:], args[len(args)-words:]) {
			t.Errorf("%q, %d: got %q", args, words, kept)
		}
		if again := withoutRoot(kept, words); !slices.Equal(again, kept) {
			t.Errorf("%q, %d: got %q, and of that %q", args, words, kept, again)
		}
		ours := kept[:len(kept)-words]
		if i := slices.Index(ours, "--"); i >= 0 {
			ours = ours[:i]
		}
		if slices.ContainsFunc(ours, func(s string) bool { return s == "--root" || strings.HasPrefix(s, "--root=") }) {
			t.Errorf("%q, %d: got %q", args, words, kept)
		}
	})
}
