package command

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// progress tells on stderr what is being waited for: one line that is
// rewritten, on a terminal, or a line for each step. It is safe for concurrent
// use; the zero progress is silent.
type progress struct {
	w     io.Writer
	plain bool

	mu   sync.Mutex
	last string
}

// Say shows that text is going on now.
func (p *progress) Say(text string) {
	if p.w == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if text == p.last {
		return
	}
	p.last = text
	text = printable(text)
	if p.plain {
		fmt.Fprintln(p.w, text)
		return
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s", cut(text, width(p.w)-1))
}

// Done takes the line off the terminal again, before something else is printed.
func (p *progress) Done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w != nil && !p.plain && p.last != "" {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
	p.last = ""
}

// Write lets a library log to the same place, line by line.
func (p *progress) Write(text []byte) (int, error) {
	for line := range strings.Lines(string(text)) {
		p.Say(strings.TrimRight(line, "\r\n"))
	}
	return len(text), nil
}

// terminal returns the file behind a stream if it is a terminal.
func terminal(stream any) (*os.File, bool) {
	f, ok := stream.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

func width(w io.Writer) int {
	if f, ok := terminal(w); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
			return columns
		}
	}
	return 80
}

func cut(s string, columns int) string {
	if r := []rune(s); len(r) > columns {
		return string(r[:max(columns-1, 0)]) + "…"
	}
	return s
}
