package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
)

// errNeedsShell is returned for a command line that only a shell understands.
var errNeedsShell = errors.New("no shell in this guest, and the command line needs one")

// startWords runs a command line without a shell: see [words].
func (s *session) startWords(req *ssh.Request, line string) bool {
	argv, err := words(line)
	if err != nil {
		return s.fail(req, exitNotFound, err)
	}
	path, err := lookPath(argv[0])
	if err != nil {
		return s.fail(req, exitNotFound, err)
	}
	return s.startProgram(req, path, argv)
}

// words splits a line of plain and single-quoted words, after an exec if there
// is one: it is what package guest makes of an argument vector. It fails for
// anything that a shell would give a meaning to.
func words(line string) ([]string, error) {
	line = strings.TrimPrefix(line, "exec ")
	var argv []string
	var word strings.Builder
	inWord := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == ' ' || c == '\t':
			if inWord {
				argv = append(argv, word.String())
				word.Reset()
			}
			inWord = false
		case c == '\'':
			end := strings.IndexByte(line[i+1:], '\'')
			if end < 0 {
				return nil, errNeedsShell
			}
			word.WriteString(line[i+1 : i+1+end])
			i += end + 1
			inWord = true
		case c == '\\' && i+1 < len(line) && line[i+1] == '\'':
			word.WriteByte('\'')
			i++
			inWord = true
		case strings.IndexByte("|&;<>()$`\\\"\n*?[#~=%!{}", c) >= 0:
			return nil, errNeedsShell
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if inWord {
		argv = append(argv, word.String())
	}
	if len(argv) == 0 {
		return nil, errNeedsShell
	}
	return argv, nil
}

// lookPath finds a program where a shell would.
func lookPath(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", &os.PathError{Op: "start", Path: name, Err: os.ErrNotExist}
}
