package command

// escapes finds the ways out of an attached console in what is typed, as ssh
// and virsh know them: behind a line end, ~. detaches and ~~ is one ~. It holds
// a ~ back until the next byte decides. The zero escapes is not at a line's
// start; see newEscapes.
type escapes struct {
	lineStart bool
	held      bool // a ~ that was typed and not passed on
}

func newEscapes() *escapes { return &escapes{lineStart: true} }

// Pass returns the bytes of typed that go to the guest, and whether the user
// asked to detach. What was typed behind that is dropped.
func (e *escapes) Pass(typed []byte) (out []byte, detach bool) {
	for _, b := range typed {
		switch {
		case e.held:
			e.held = false
			switch b {
			case '.':
				return out, true
			case '~':
				out = append(out, '~')
			default:
				out = append(out, '~', b)
			}
			e.lineStart = b == '\r' || b == '\n'
		case b == '~' && e.lineStart:
			e.held = true
		default:
			out = append(out, b)
			e.lineStart = b == '\r' || b == '\n'
		}
	}
	return out, false
}
