package guest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// FuzzParsePublic asks that a key which was read can be written and read again:
// it is what a machine is known by.
func FuzzParsePublic(f *testing.F) {
	k, err := NewKeys()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(k.HostPub)
	f.Fuzz(func(t *testing.T, line string) {
		key, err := ParsePublic(line)
		if err != nil {
			if key != nil {
				t.Errorf("got %v with %v", key, err)
			}
			return
		}
		again, err := ParsePublic(string(ssh.MarshalAuthorizedKey(key)))
		if err != nil || !bytes.Equal(again.Marshal(), key.Marshal()) {
			t.Errorf("%q: written and read again it is %v, %v", line, again, err)
		}
	})
}

// FuzzExit feeds the requests that end a program. The exit code has to be one
// that this process can end with: a higher one would be cut to its low byte,
// and 256 become success.
func FuzzExit(f *testing.F) {
	f.Add("exit-status", []byte{0, 0, 0, 7})
	f.Add("exit-signal", ssh.Marshal(struct {
		Name          string
		Core          bool
		Message, Lang string
	}{Name: "TERM"}))
	f.Fuzz(func(t *testing.T, kind string, payload []byte) {
		var e exitState
		e.take(kind, payload)
		code, err := e.code()
		switch {
		case err != nil && !errors.Is(err, ErrGone):
			t.Errorf("got %v, want ErrGone", err)
		case code < 0 || code > 255:
			t.Errorf("%s % x: exit code %d", kind, payload, code)
		case err == nil && kind == "exit-status" && code == 0 && !bytes.Equal(payload, make([]byte, 4)):
			t.Errorf("% x is taken for success", payload)
		case err == nil && kind == "exit-signal" && code < 128:
			t.Errorf("% x: exit code %d is that of no signal", payload, code)
		}
	})
}

// FuzzQuote reads back what a POSIX shell would make of a quoted argument.
func FuzzQuote(f *testing.F) {
	f.Add("it's", "$HOME; *")
	f.Fuzz(func(t *testing.T, a, b string) {
		line, err := Command{Args: []string{a, b}}.line()
		if err != nil {
			if !strings.Contains(a+b, "\x00") {
				t.Errorf("%q, %q: %v", a, b, err)
			}
			return
		}
		if got, want := shellWords(line), []string{"exec", a, b}; !slices.Equal(got, want) {
			t.Errorf("%s: read back as %q, want %q", line, got, want)
		}
	})
}

// shellWords splits a line as XCU 2.2 has it, for plain, '…' and \c.
func shellWords(line string) []string {
	words, quoted := []string{""}, false
	for i := 0; i < len(line); i++ {
		last := len(words) - 1
		switch c := line[i]; {
		case c == '\'':
			quoted = !quoted
		case quoted:
			words[last] += line[i : i+1]
		case c == '\\' && i+1 < len(line):
			i++
			words[last] += line[i : i+1]
		case c == ' ':
			words = append(words, "")
		default:
			words[last] += line[i : i+1]
		}
	}
	return words
}

// FuzzAnswer reads a line of a probe guest that says what it likes.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("ERR ECONNRESET\nmore"))
	f.Fuzz(func(t *testing.T, said []byte) {
		p := &Probe{lines: bufio.NewReaderSize(bytes.NewReader(said), probeLineMax)}
		line, err := p.writeAndRead("")
		want, _, whole := strings.Cut(string(said), "\n")
		switch {
		case err == nil && (!whole || line != want || len(line) >= probeLineMax):
			t.Errorf("got %q, want %q", line, want)
		case err != nil && whole && len(want) < probeLineMax:
			t.Errorf("%q: %v", want, err)
		case err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, bufio.ErrBufferFull):
			t.Errorf("got %v, want that it went away or said too much", err)
		}
		if errno := answerErrno(line); errno != 0 && !strings.Contains(line, "E") {
			t.Errorf("%q: got %v", line, errno)
		}
	})
}
