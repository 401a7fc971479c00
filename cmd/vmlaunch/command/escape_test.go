package command

import "testing"

func TestEscapes(t *testing.T) {
	for _, c := range []struct {
		name   string
		typed  []string // as the reads gave it
		want   string
		detach bool
	}{
		{"text", []string{"ls\r"}, "ls\r", false},
		{"at once", []string{"~."}, "", true},
		{"behind a line", []string{"ls\r~."}, "ls\r", true},
		{"across reads", []string{"ls\n", "~", "."}, "ls\n", true},
		{"in a line", []string{"cd ~.ssh\r"}, "cd ~.ssh\r", false},
		{"doubled", []string{"~~.\r"}, "~.\r", false},
		{"some other letter", []string{"~/x"}, "~/x", false},
		{"the rest is dropped", []string{"~.rm -rf /"}, "", true},
		{"a line end behind a tilde", []string{"~\r~."}, "~\r", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEscapes()
			var got []byte
			detach := false
			for _, typed := range c.typed {
				var out []byte
				out, detach = e.Pass([]byte(typed))
				got = append(got, out...)
			}
			if string(got) != c.want || detach != c.detach {
				t.Errorf("got %q detach %v, want %q detach %v", got, detach, c.want, c.detach)
			}
		})
	}
}
