package main

import (
	"errors"
	"slices"
	"testing"
)

func TestWords(t *testing.T) {
	for _, test := range []struct {
		line string
		want []string // nil: needs a shell
	}{
		{"ls", []string{"ls"}},
		{"exec 'exec' ls", []string{"exec", "ls"}},
		{" a  b\tc ", []string{"a", "b", "c"}},
		{"'two words' ''", []string{"two words", ""}},
		{`'it'\''s'`, []string{"it's"}},
		{`a'b'c`, []string{"abc"}},
		{`'$HOME;|&'`, []string{"$HOME;|&"}},
		{"'open", nil},
		{"", nil},
		{"  ", nil},
		{"a; b", nil},
		{"a > b", nil},
		{"echo $HOME", nil},
		{"a\nb", nil},
		{`a\ b`, nil},
		{`"a"`, nil},
		{"A=b c", nil},
	} {
		got, err := words(test.line)
		if !slices.Equal(got, test.want) || (test.want == nil) != errors.Is(err, errNeedsShell) {
			t.Errorf("%q: %q, %v; want %q", test.line, got, err, test.want)
		}
	}
}
