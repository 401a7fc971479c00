package command

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLay(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	rows := []boardRow{
		{name: "pair.a", phase: "ready", begun: at(0), over: at(2)},
		{name: "pair.berry", phase: "boot: a\x1b[2J long last line", begun: at(1)},
		{name: "pair.c", phase: "failed", begun: at(0), over: at(4), failed: true},
	}
	for _, c := range []struct {
		name           string
		columns, lines int
		whole          bool
		want           []string
	}{
		{"room for all", 80, 24, false, []string{
			"pair.a        2.0s  ready",
			"pair.berry    4.0s  boot: a?[2J long last line",
			"pair.c        4.0s  failed",
			"2 of 3 done, 1 failed",
		}},
		{"narrow", 24, 24, false, []string{"pair.a        2.0s  rea…", "pair.berry    4.0s  boo…", "pair.c        4.0s  fai…", "2 of 3 done, 1 failed"}},
		{"low", 80, 4, false, []string{"pair.c        4.0s  failed", "pair.berry    4.0s  boot: a?[2J long last line", "2 of 3 done, 1 failed"}},
		{"the last time", 80, 4, true, []string{
			"pair.a        2.0s  ready",
			"pair.berry    4.0s  boot: a?[2J long last line",
			"pair.c        4.0s  failed",
			"2 of 3 done, 1 failed",
		}},
	} {
		for i, w := range c.want {
			if runes := []rune(w); len(runes) > c.columns-1 {
				c.want[i] = string(runes[:c.columns-2]) + "…"
			}
		}
		if d := cmp.Diff(c.want, lay(rows, c.columns, c.lines, c.whole, at(5))); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}

// TestBoardDrawsOverItself keeps the last word about what is over.
func TestBoardDrawsOverItself(t *testing.T) {
	var out strings.Builder
	b := &board{w: &out, now: time.Now, size: func() (int, int) { return 80, 24 }, stop: make(chan struct{}), ended: make(chan struct{})}
	close(b.ended) // nobody ticks
	b.Set("a", "boot")
	b.draw(false)
	b.End("a", "ready", false)
	b.Set("a", "too late")
	b.Set("b", "boot")
	b.Close()
	first, second, ok := strings.Cut(out.String(), "\r\x1b[2A\x1b[J")
	if !ok || !strings.Contains(first, "boot\n0 of 1 done\n") {
		t.Errorf("drawn: %q", out.String())
	}
	if !strings.Contains(second, "ready\n") || strings.Contains(second, "too late") || !strings.HasSuffix(second, "1 of 2 done\n") {
		t.Errorf("drawn the second time: %q", second)
	}
}
