package guest

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxMessage bounds one readiness message, in bytes. It is what systemd takes,
// too (NOTIFY_BUFFER_MAX).
const MaxMessage = 4096

// maxStatus bounds a status line, in runes: it is meant for one line of a
// terminal.
const maxStatus = 200

// ErrBadMessage is returned for a message that is too long or no text.
var ErrBadMessage = errors.New("bad readiness message")

// A Message is what a guest tells in the sd_notify protocol: lines of KEY=VALUE,
// see sd_notify(3). Keys without meaning here are passed over.
type Message struct {
	Ready  bool              // READY=1
	Status string            // STATUS=…, one printable line
	Extra  map[string]string // X_…=…, as they came; nil if there are none
}

// ParseMessage reads a message. What comes from a guest is not trusted: Status
// holds nothing that a terminal would obey. It returns [ErrBadMessage] for more
// than [MaxMessage] bytes and for what is not UTF-8.
func ParseMessage(b []byte) (Message, error) {
	if len(b) > MaxMessage {
		return Message{}, fmt.Errorf("%w: longer than %d bytes", ErrBadMessage, MaxMessage)
	}
	if !utf8.Valid(b) {
		return Message{}, fmt.Errorf("%w: not UTF-8", ErrBadMessage)
	}
	var m Message
	for line := range strings.Lines(string(b)) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch {
		case !ok:
		case key == "READY":
			m.Ready = m.Ready || value == "1"
		case key == "STATUS":
			m.Status = printable(value)
		case strings.HasPrefix(key, "X_"):
			if m.Extra == nil {
				m.Extra = make(map[string]string)
			}
			m.Extra[key] = value
		}
	}
	return m, nil
}

// printable makes one harmless line of s.
func printable(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > maxStatus {
			b.WriteRune('…')
			break
		}
		if !unicode.IsPrint(r) {
			r = unicode.ReplacementChar
		}
		b.WriteRune(r)
	}
	return b.String()
}
