package command

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// boardTick is how often a board is drawn anew: often enough for its times.
const boardTick = 200 * time.Millisecond

// A board is a live view of many things under way, one line each, on a terminal: its
// name, how far it is, how long that has taken. It is safe for concurrent use.
type board struct {
	w    io.Writer
	size func() (columns, lines int)
	now  func() time.Time

	mu    sync.Mutex
	rows  []boardRow
	drawn int // lines on the terminal that are ours
	stop  chan struct{}
	ended chan struct{}
}

type boardRow struct {
	name, phase string
	begun, over time.Time // zero: not begun, not over
	failed      bool
}

// openBoard begins to draw on w, a terminal. The caller closes it.
func openBoard(w io.Writer) *board {
	b := &board{w: w, now: time.Now, stop: make(chan struct{}), ended: make(chan struct{})}
	b.size = func() (columns, lines int) {
		if f, ok := terminal(w); ok {
			if columns, lines, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 && lines > 0 {
				return columns, lines
			}
		}
		return 80, 24
	}
	go func() {
		defer close(b.ended)
		tick := time.NewTicker(boardTick)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				b.draw(false)
			case <-b.stop:
				return
			}
		}
	}()
	return b
}

// Set says how far name is. What is new gets a line behind the others.
func (b *board) Set(name, phase string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.row(name)
	if r.over.IsZero() {
		r.phase = phase
	}
}

// End says how name has ended.
func (b *board) End(name, phase string, failed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.row(name)
	r.phase, r.over, r.failed = phase, b.now(), failed
}

// row returns the line of name; the caller holds the lock.
func (b *board) row(name string) *boardRow {
	i := slices.IndexFunc(b.rows, func(r boardRow) bool { return r.name == name })
	if i < 0 {
		b.rows = append(b.rows, boardRow{name: name, begun: b.now()})
		i = len(b.rows) - 1
	}
	return &b.rows[i]
}

// Close draws all lines a last time, however many there are, and leaves them.
func (b *board) Close() {
	close(b.stop)
	<-b.ended
	b.draw(true)
}

// draw draws over what was drawn before.
func (b *board) draw(whole bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	columns, lines := b.size()
	text := lay(b.rows, columns, lines, whole, b.now())
	var out strings.Builder
	if b.drawn > 0 {
		fmt.Fprintf(&out, "\r\x1b[%dA\x1b[J", b.drawn)
	}
	for _, line := range text {
		out.WriteString(line + "\n")
	}
	b.drawn = len(text)
	_, _ = io.WriteString(b.w, out.String()) // a terminal that is gone needs no view
}

// lay returns the lines of a view: all of them, or as many as a terminal of this
// size has room for, those under way before those that are over, and how many there
// are in all. It is a pure function.
func lay(rows []boardRow, columns, lines int, whole bool, now time.Time) []string {
	width, over, failed := 0, 0, 0
	for _, r := range rows {
		width = max(width, len(r.name))
		if !r.over.IsZero() {
			over++
		}
		if r.failed {
			failed++
		}
	}
	shown := rows
	if room := max(lines-2, 1); !whole && len(rows) > room { // a line for the sum, and one for the cursor
		shown = slices.Clone(rows)
		slices.SortStableFunc(shown, func(a, b boardRow) int { return rank(a) - rank(b) })
		shown = shown[:room]
	}
	var text []string
	for _, r := range shown {
		took := now.Sub(r.begun)
		if !r.over.IsZero() {
			took = r.over.Sub(r.begun)
		}
		line := fmt.Sprintf("%-*s %6.1fs  %s", width, r.name, took.Seconds(), printable(r.phase))
		text = append(text, cut(line, columns-1))
	}
	sum := fmt.Sprintf("%d of %d done", over, len(rows))
	if failed > 0 {
		sum += fmt.Sprintf(", %d failed", failed)
	}
	return append(text, cut(sum, columns-1))
}

// rank is the order in which lines are shown where there is no room for all:
// failures, then what is under way.
func rank(r boardRow) int {
	switch {
	case r.failed:
		return 0
	case r.over.IsZero():
		return 1
	}
	return 2
}
