package guest

import (
	"fmt"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// The size of a terminal that nobody sees.
const (
	defaultColumns = 80
	defaultRows    = 24
)

// windowChange is the payload of window-change, RFC 4254, 6.7; pixels are 0.
type windowChange struct{ Columns, Rows, Width, Height uint32 }

// modes is an empty list of terminal modes: the guest's defaults, which are
// those of a fresh Linux terminal.
const modes = "\x00"

// onTerminal tells whether a local terminal takes part.
func (c Command) onTerminal() bool {
	return c.TTY && c.Terminal != nil && term.IsTerminal(int(c.Terminal.Fd()))
}

// window returns the size of the local terminal, or the default.
func (c Command) window() windowChange {
	if c.onTerminal() {
		if columns, rows, err := term.GetSize(int(c.Terminal.Fd())); err == nil && columns > 0 && rows > 0 {
			return windowChange{Columns: uint32(columns), Rows: uint32(rows)}
		}
	}
	return windowChange{Columns: defaultColumns, Rows: defaultRows}
}

// terminalRequest is the payload of pty-req, RFC 4254, 6.2.
func (c Command) terminalRequest() []byte {
	name := c.Term
	if name == "" {
		name = "xterm"
	}
	w := c.window()
	return ssh.Marshal(struct {
		Name                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}{name, w.Columns, w.Rows, w.Width, w.Height, modes})
}

// takeTerminal puts the local terminal into raw mode and follows its size. The
// returned function gives it back as it was. Without a local terminal there is
// nothing to do.
func (r *run) takeTerminal() (restore func()) {
	if !r.cmd.onTerminal() {
		return func() {}
	}
	fd := int(r.cmd.Terminal.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		r.fail(fmt.Errorf("terminal: %w", err))
		_ = r.ch.Close()
		return func() {}
	}
	changed := make(chan os.Signal, 1) // one that waits stands for all
	signal.Notify(changed, unix.SIGWINCH)
	var following sync.WaitGroup
	following.Go(func() {
		for range changed {
			_, _ = r.ch.SendRequest("window-change", false, ssh.Marshal(r.cmd.window())) // fails with the channel
		}
	})
	return func() {
		signal.Stop(changed) // after it nothing is sent to changed
		close(changed)
		following.Wait()
		_ = term.Restore(fd, before) // the terminal is gone, then
	}
}
