package configs

import (
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"
)

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*`)

// interpolate replaces the variables in every value below n; keys stay. Getenv is
// asked as os.LookupEnv is.
func (d *document) interpolate(n *yaml.Node, getenv func(string) (string, bool)) {
	if n == nil {
		return
	}
	if n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "$") {
		text, err := Interpolate(n.Value, getenv)
		if err != nil {
			d.fail(n, "%v", err)
			return
		}
		n.Value = text
		if n.Style == 0 { // plain: an empty one is none, as if it had been written so
			n.Tag = "!!str"
			if text == "" {
				n.Tag = "!!null"
			}
		}
	}
	for i, inner := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			continue
		}
		d.interpolate(inner, getenv)
	}
}

// Interpolate replaces $NAME and ${NAME} in text by what getenv says, nothing if
// it is not set; ${NAME:-WORD} and ${NAME-WORD} by WORD if NAME is empty or not
// set, or not set; ${NAME:?WORD} and ${NAME?WORD} fail then, with WORD; $$ is one $. It is
// the shell's way, as compose files have it; words hold no variables. It fails on
// anything else behind a $.
func Interpolate(text string, getenv func(string) (string, bool)) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "$")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		if strings.HasPrefix(rest, "$") {
			b.WriteByte('$')
			text = rest[1:]
			continue
		}
		inner, after, braces := rest, "", strings.HasPrefix(rest, "{")
		if braces {
			var closed bool
			if inner, after, closed = strings.Cut(rest[1:], "}"); !closed {
				return "", fmt.Errorf("%q: want a } (a $ of its own is $$)", "$"+rest)
			}
		}
		name := variableName.FindString(inner)
		if name == "" {
			return "", fmt.Errorf("%q: want the name of a variable (a $ of its own is $$)", "$"+rest)
		}
		word := inner[len(name):]
		if !braces {
			after, word = word, ""
		}
		v, err := variable(name, word, getenv)
		if err != nil {
			return "", err
		}
		b.WriteString(v)
		text = after
	}
}

// variable returns the value of ${NAME WORD}, WORD being what follows the name.
func variable(name, word string, getenv func(string) (string, bool)) (string, error) {
	v, set := getenv(name)
	colon := strings.HasPrefix(word, ":")
	there := set && (!colon || v != "")
	switch op := strings.TrimPrefix(word, ":"); {
	case word == "", there && (op != "" && strings.ContainsRune("-?", rune(op[0]))):
		return v, nil
	case strings.HasPrefix(op, "-"):
		return op[1:], nil
	case strings.HasPrefix(op, "?"):
		why := op[1:]
		if why == "" {
			why = "must be set"
		}
		return "", fmt.Errorf("variable %s: %s", name, why)
	}
	return "", fmt.Errorf("%q: want ${%s}, ${%s:-word} or ${%s:?word}", "${"+name+word+"}", name, name, name)
}
