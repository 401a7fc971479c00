package command

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWithoutRoot(t *testing.T) {
	for _, c := range []struct {
		args  []string
		words int
		want  []string
	}{
		{[]string{"--root", "/r", "--nest", "ls"}, 0, []string{"--nest", "ls"}},
		{[]string{"ls", "--root=/r", "-q"}, 0, []string{"ls", "-q"}},
		{[]string{"ls", "--root"}, 0, []string{"ls"}},
		{[]string{"exec", "a", "--", "tool", "--root", "/r"}, 4, []string{"exec", "a", "--", "tool", "--root", "/r"}},
		{[]string{"--root=/r", "exec", "-t", "a", "tool", "--root", "/r"}, 4, []string{"exec", "-t", "a", "tool", "--root", "/r"}},
	} {
		if diff := cmp.Diff(c.want, withoutRoot(c.args, c.words)); diff != "" {
			t.Errorf("withoutRoot(%q): -want +got\n%s", c.args, diff)
		}
	}
}
