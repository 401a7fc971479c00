package guest

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// A Command is a program to run in a guest.
type Command struct {
	// Args are the program and its arguments, passed on as they are. None means
	// a login shell.
	Args []string
	// Env holds NAME=value for the program, besides what it finds there.
	Env []string
	// Dir is where it starts; empty for the home directory. It needs a shell in
	// the guest.
	Dir string

	// Stdin is read until EOF or until the program ends; nil gives it none. Only
	// an *os.File can be left without waiting for its next Read: after Run
	// another Reader may have one Read outstanding.
	Stdin io.Reader
	// Stdout and Stderr get the output; nil discards it. They may be the same
	// writer, of a type that can be compared: one Write at a time then. A program on
	// a terminal has only Stdout.
	Stdout, Stderr io.Writer

	// TTY gives the program a terminal.
	TTY bool
	// Terminal, if it is one, gives that terminal its size, follows its changes,
	// and is in raw mode while the program runs. Only looked at with TTY.
	Terminal *os.File
	// Term is TERM in the guest; empty for "xterm".
	Term string

	subsystem string // instead of a program: RFC 4254, 6.5
}

// line returns the command line for the guest's shell: SSH knows no argument
// vectors. Without Dir and Env it is exec and quoted words, which the built-in
// guest understands without a shell, too. Empty means the login shell. It fails
// with [fs.ErrInvalid] for what a shell could misread.
func (c Command) line() (string, error) {
	var b strings.Builder
	for _, kv := range c.Env {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || !validName(name) {
			return "", fmt.Errorf("environment %q: %w (want NAME=value)", kv, fs.ErrInvalid)
		}
		b.WriteString("export " + name + "=" + quote(value) + "; ")
	}
	if c.Dir != "" {
		b.WriteString("cd " + quote(c.Dir) + " && ")
	}
	switch {
	case len(c.Args) > 0:
		b.WriteString("exec") // the program, not a shell that waits for it, gets the signals
		for _, a := range c.Args {
			b.WriteString(" " + quote(a))
		}
	case b.Len() > 0:
		b.WriteString(`exec "${SHELL:-/bin/sh}" -l`)
	}
	if strings.Contains(b.String(), "\x00") {
		return "", fmt.Errorf("command: %w: zero byte", fs.ErrInvalid)
	}
	return b.String(), nil
}

// quote makes one word of s for any POSIX shell. Every word is quoted: none is
// a reserved word, an assignment or an alias then.
func quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// validName tells whether a shell takes s for a variable's name.
func validName(s string) bool {
	for i, r := range s {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}
