package qmp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		line   string
		id     uint64
		answer string
		err    *Error
	}{
		{`{"return": {}, "id": 1}`, 1, `{}`, nil},
		{`{"id": 18446744073709551615, "return": [1, 2]}`, 1<<64 - 1, `[1, 2]`, nil},
		{`{"return": null, "id": 2}`, 2, `null`, nil},
		{`{"return": "", "id": 3, "new": true}`, 3, `""`, nil},
		{`{"id": 4, "error": {"class": "DeviceNotFound", "desc": "no \"x\""}}`, 4, ``, &Error{DeviceNotFound, `no "x"`}},
		{`{"id": 5, "error": {"class": "GenericError", "desc": ""}}`, 5, ``, &Error{Class: GenericError}},
		{`{"id": 6, "error": {}}`, 6, ``, &Error{}},
	} {
		m, err := decode([]byte(c.line))
		if err != nil {
			t.Errorf("%s: %v", c.line, err)
			continue
		}
		if m.id != c.id || string(m.answer) != c.answer || !cmp.Equal(m.err, c.err) {
			t.Errorf("%s: got id %d, answer %s, error %v", c.line, m.id, m.answer, m.err)
		}
		answer, err := m.result()
		if refused := c.err != nil; refused != (err != nil) || refused == (answer != nil) {
			t.Errorf("%s: result %s, %v", c.line, answer, err)
		}
	}
}

func TestDecodeEvent(t *testing.T) {
	m, err := decode([]byte(`{"timestamp": {"seconds": 7, "microseconds": 8}, "event": "RESET", "data": {"guest": false}}`))
	if err != nil || m.event == nil {
		t.Fatalf("got %+v, %v", m, err)
	}
	want := Event{Event: "RESET", Data: map[string]any{"guest": false}}
	want.Timestamp.Seconds, want.Timestamp.Microseconds = 7, 8
	if diff := cmp.Diff(want, *m.event); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeGreeting(t *testing.T) {
	m, err := decode([]byte(`{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "deb"}, "capabilities": ["oob"]}}`))
	if err != nil || m.greeting == nil {
		t.Fatalf("got %+v, %v", m, err)
	}
	if g := m.greeting; g.Version.String() != "7.2.22" || g.Version.Package != "deb" || len(g.Capabilities) != 1 {
		t.Errorf("got %+v", g)
	}
}

// notQMP are lines that go-qemu skips, waiting for ever, or takes for success.
func notQMP() map[string]string {
	return map[string]string{
		"garbage":              "fnord",
		"a web page":           "<html><body>404</body></html>",
		"another protocol":     "SSH-2.0-OpenSSH_9.2",
		"half a reply":         `{"return": {"status": `,
		"a number":             "42",
		"a list":               "[1,2]",
		"null":                 "null",
		"an empty object":      "{}",
		"no answer":            `{"id": 1}`,
		"two answers":          `{"id": 1, "return": {}, "error": {"class": "GenericError", "desc": "x"}}`,
		"an answering event":   `{"id": 1, "return": {}, "event": "STOP"}`,
		"no event":             `{"event": "", "data": {}}`,
		"no error":             `{"id": 1, "error": null}`,
		"an id of a stranger":  `{"return": {}, "id": "x"}`,
		"a negative id":        `{"return": {}, "id": -1}`,
		"no id":                `{"return": {}}`,
		"a command we garbled": `{"error": {"class": "GenericError", "desc": "JSON parse error, invalid keyword 'not'"}}`,
		"two messages":         `{"return": {}, "id": 1}{"return": {}, "id": 2}`,
		"an endless event":     `{"event": "STOP", "data": {"x": "` + strings.Repeat("x", maxEvent) + `"}}`,
		"zeroes":               "\x00\x00\x00",
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, line := range notQMP() {
		m, err := decode([]byte(line))
		var p *ProtocolError
		if !errors.As(err, &p) {
			t.Errorf("%s: got %+v, %v, want a ProtocolError", name, m, err)
			continue
		}
		if p.Reason == "" || !strings.HasPrefix(line, strings.TrimSuffix(p.Line, "…")) {
			t.Errorf("%s: error %q shows neither line nor reason", name, p)
		}
		if len(p.Error()) > 500 {
			t.Errorf("%s: error has %d bytes", name, len(p.Error()))
		}
	}
}

// TestDecodeKeepsNothing is against the fault that damages replies in go-qemu:
// the line's memory is used again for the next line.
func TestDecodeKeepsNothing(t *testing.T) {
	line := []byte(`{"return": {"status": "running"}, "id": 1}`)
	m, err := decode(line)
	if err != nil {
		t.Fatal(err)
	}
	for i := range line {
		line[i] = 'x'
	}
	if got := string(m.answer); got != `{"status": "running"}` {
		t.Errorf("the answer became %s", got)
	}
}

func TestReadLine(t *testing.T) {
	long := strings.Repeat("x", 300_000)
	for _, c := range []struct {
		name, in string
		want     []string
		end      error
	}{
		{"lines", "a\r\nb\nc\r\n", []string{"a", "b", "c"}, io.EOF},
		{"blank lines", "\r\n\n  \r\na\r\n\r\n", []string{"a"}, io.EOF},
		{"long lines", long + "\n" + long + "y\nz\n", []string{long, long + "y", "z"}, io.EOF},
		{"a torn line", "a\nb", []string{"a"}, io.ErrUnexpectedEOF},
		{"a torn long line", long, nil, io.ErrUnexpectedEOF},
		{"nothing", "", nil, io.EOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := bufio.NewReaderSize(strings.NewReader(c.in), 16)
			for i, want := range c.want {
				got, err := readLine(r)
				if err != nil || string(got) != want {
					t.Fatalf("line %d: got %.20q, %v, want %.20q", i, got, err, want)
				}
			}
			if got, err := readLine(r); !errors.Is(err, ErrGone) || !errors.Is(err, c.end) {
				t.Errorf("got %.20q, %v, want ErrGone with %v", got, err, c.end)
			}
		})
	}
}

// TestReadLineIsBounded lets a peer send a line without end.
func TestReadLineIsBounded(t *testing.T) {
	r := &endless{}
	_, err := readLine(bufio.NewReader(r))
	var p *ProtocolError
	if !errors.As(err, &p) {
		t.Fatalf("got %v, want a ProtocolError", err)
	}
	if r.n > maxLine+1<<20 {
		t.Errorf("%d bytes were read, want at most some over %d", r.n, maxLine)
	}
}

type endless struct{ n int }

func (r *endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	r.n += len(b)
	return len(b), nil
}

// FuzzDecode asks of any line that it is refused or means exactly one thing.
func FuzzDecode(f *testing.F) {
	for _, line := range notQMP() {
		if len(line) < 1000 { // the fuzzer would spend its time on making it smaller
			f.Add([]byte(line))
		}
	}
	f.Add([]byte(`{"return": {}, "id": 1}`))
	f.Add([]byte(`{"id": 4, "error": {"class": "DeviceNotFound", "desc": "x"}}`))
	f.Add([]byte(`{"timestamp": {"seconds": 7, "microseconds": 8}, "event": "RESET", "data": {"guest": false}}`))
	f.Add([]byte(`{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		before := bytes.Clone(line)
		m, err := decode(line)
		if !bytes.Equal(line, before) {
			t.Errorf("the line was changed to %q", line)
		}
		var p *ProtocolError
		if errors.As(err, &p) {
			if len(p.Line) > 200 || m.answer != nil || m.event != nil || m.greeting != nil || m.err != nil {
				t.Errorf("refused, and yet got %+v, %v", m, p)
			}
			return
		}
		if err != nil {
			t.Fatalf("got %v, want a ProtocolError or nil", err)
		}
		if count(m.greeting != nil, m.event != nil, m.answer != nil, m.err != nil) != 1 {
			t.Errorf("%q means not one thing: %+v", line, m)
		}
		if m.answer != nil && !json.Valid(m.answer) {
			t.Errorf("answer %q is not JSON", m.answer)
		}
		if m.event != nil && (m.event.Event == "" || len(line) > maxEvent) {
			t.Errorf("event %+v from %d bytes", m.event, len(line))
		}
	})
}
