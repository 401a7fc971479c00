package main

import (
	"bufio"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/guest"
)

func TestTerminal(t *testing.T) {
	c := startAgent(t).client(t)
	cmd := sh(`test -t 0 && test -t 1 && test -t 2 && stty size && echo $TERM; exit 5`)
	cmd.TTY, cmd.Term = true, "vt220"
	out, _, exit := output(t, c, cmd)
	if want := "24 80\r\nvt220\r\n"; out != want || exit != 5 {
		t.Errorf("got %q, exit %d, want %q and 5", out, exit, want)
	}
}

// TestTerminalOutput asks that nothing of a program's last words is lost.
func TestTerminalOutput(t *testing.T) {
	c := startAgent(t).client(t)
	cmd := sh(`head -c 300000 /dev/zero | tr '\0' x; printf end`)
	cmd.TTY = true
	if out, _, _ := output(t, c, cmd); len(out) != 300003 || !strings.HasSuffix(out, "xend") {
		t.Errorf("got %d bytes, want 300003", len(out))
	}
}

// TestTerminalDaemon leaves a process on the terminal that does not care about
// its end: the session ends all the same.
func TestTerminalDaemon(t *testing.T) {
	c := startAgent(t).client(t)
	cmd := sh(`trap '' HUP; sleep 1000 & echo $!; exit 6`)
	cmd.TTY = true
	out, _, exit := output(t, c, cmd)
	if exit != 6 {
		t.Errorf("exit %d, want 6", exit)
	}
	if id := identify(t, strings.TrimSpace(out)); !id.Alive() {
		t.Error("the process that ignores SIGHUP is gone")
	} else if err := id.Signal(unix.SIGKILL); err != nil {
		t.Error(err)
	}
}

// TestTerminalEnd asks that the end of the input ends a program that reads a
// terminal, after a whole line and after a part of one.
func TestTerminalEnd(t *testing.T) {
	c := startAgent(t).client(t)
	for _, in := range []string{"", "line\n", "part"} {
		cmd := sh("stty -echo; echo go; cat; exit 8")
		r, w := io.Pipe()
		ready := &once{text: "go", then: func() {
			_, _ = io.WriteString(w, in) // read until the program ends
			_ = w.Close()
		}}
		cmd.TTY, cmd.Stdin, cmd.Stdout = true, r, ready
		exit, err := c.Run(t.Context(), cmd)
		want := "go\r\n" + strings.ReplaceAll(in, "\n", "\r\n")
		if got := ready.got.String(); err != nil || exit != 8 || got != want {
			t.Errorf("%q: exit %d, %v, got %q, want %q", in, exit, err, got, want)
		}
	}
}

// TestInterrupt sends Ctrl-C as a terminal in raw mode does.
func TestInterrupt(t *testing.T) {
	c := startAgent(t).client(t)
	r, w := io.Pipe()
	defer w.Close()
	// No shell: one that just starts a program may lose the signal between the two.
	cmd := guest.Command{Args: []string{"cat"}, TTY: true, Stdin: r}
	cmd.Stdout = &once{text: "go\r\ngo", then: func() { _, _ = w.Write([]byte{3}) }}
	go func() { _, _ = io.WriteString(w, "go\n") }()
	if exit, err := c.Run(t.Context(), cmd); err != nil || exit != 130 {
		t.Errorf("exit %d, %v, want 130", exit, err)
	}
}

func TestShell(t *testing.T) {
	c := startAgent(t).client(t)
	out, _, exit := output(t, c, guest.Command{Stdin: strings.NewReader("echo in $0\nexit 9\n")})
	if !strings.Contains(out, "in -sh") || exit != 9 {
		t.Errorf("got %q, exit %d", out, exit)
	}
}

// TestLocalTerminal runs a program from a terminal of our own: it is in raw
// mode meanwhile, its size gets over and is followed, and it is as before
// afterwards.
func TestLocalTerminal(t *testing.T) {
	c := startAgent(t).client(t)
	local, err := newTerminal("", windowSize{Columns: 100, Rows: 30})
	if err != nil {
		t.Fatal(err)
	}
	defer local.close()
	before := modes(t, local.slave)
	cmd := sh(`stty size; trap 'stty size; exit 0' WINCH; echo armed; while :; do sleep 0.01; done`)
	cmd.TTY, cmd.Terminal, cmd.Stdin, cmd.Stdout = true, local.slave, local.slave, local.slave

	said := make(chan []string, 1)
	during := make(chan unix.Termios, 1)
	go func() {
		var lines []string
		s := bufio.NewScanner(local.master)
		for len(lines) < 3 && s.Scan() {
			lines = append(lines, strings.TrimSpace(s.Text()))
			if len(lines) == 2 { // armed
				during <- modes(t, local.slave)
				if err := local.resize(windowSize{Columns: 132, Rows: 43}); err != nil {
					t.Error(err)
				}
				if err := unix.Kill(os.Getpid(), unix.SIGWINCH); err != nil { // it is not our controlling terminal
					t.Error(err)
				}
			}
		}
		said <- lines
	}()
	if exit, err := c.Run(t.Context(), cmd); err != nil || exit != 0 {
		t.Fatal(exit, err)
	}
	if got, want := strings.Join(<-said, ","), "30 100,armed,43 132"; got != want {
		t.Errorf("said %q, want %q", got, want)
	}
	if raw := <-during; raw.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != 0 {
		t.Errorf("local modes while running: %#x, want raw", raw.Lflag)
	}
	if after := modes(t, local.slave); after != before {
		t.Errorf("local modes are %+v, were %+v", after, before)
	}
}

func modes(t *testing.T, f *os.File) unix.Termios {
	t.Helper()
	m, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Error(err)
		return unix.Termios{}
	}
	return *m
}

// once keeps what is written and acts when a text has come.
type once struct {
	text string
	then func()
	got  strings.Builder
}

func (o *once) Write(p []byte) (int, error) {
	o.got.Write(p)
	if o.then != nil && strings.Contains(o.got.String(), o.text) {
		go o.then() // ends with the test's pipe
		o.then = nil
	}
	return len(p), nil
}
