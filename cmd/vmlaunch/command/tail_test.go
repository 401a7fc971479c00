package command

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestToTail(t *testing.T) {
	long := strings.Repeat("a line of some length\n", 10_000)
	for _, c := range []struct {
		text string
		n    int
		want string
	}{
		{"", 3, ""},
		{"one\ntwo\nthree\n", -1, "one\ntwo\nthree\n"},
		{"one\ntwo\nthree\n", 0, ""},
		{"one\ntwo\nthree\n", 1, "three\n"},
		{"one\ntwo\nthree\n", 2, "two\nthree\n"},
		{"one\ntwo\nthree\n", 9, "one\ntwo\nthree\n"},
		{"one\ntwo\nlogin: ", 1, "login: "},
		{"one\ntwo\nlogin: ", 2, "two\nlogin: "},
		{"\n\n\n", 2, "\n\n"},
		{long, 5000, long[len(long)/2:]},
		{strings.Repeat("x", 3*tailBlock) + "\nend\n", 1, "end\n"},
		{strings.Repeat("x", 3*tailBlock), 1, strings.Repeat("x", 3*tailBlock)},
	} {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := toTail(f, c.n); err != nil {
			t.Errorf("last %d of %.20q: %v", c.n, c.text, err)
		}
		if got, err := io.ReadAll(f); err != nil || string(got) != c.want {
			t.Errorf("last %d of %.20q: %d bytes %.20q, %v; want %d bytes %.20q", c.n, c.text, len(got), got, err, len(c.want), c.want)
		}
		f.Close()
	}
}

// TestShowTail shows what is there, and does not wait for more.
func TestShowTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("one\ntwo\nlogin: "), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := showTail(&out, path, 2); err != nil || out.String() != "two\nlogin: " {
		t.Errorf("got %q, %v", out.String(), err)
	}
	if err := showTail(&out, path+".none", 2); err == nil {
		t.Error("a log that is not there was shown")
	}
}
