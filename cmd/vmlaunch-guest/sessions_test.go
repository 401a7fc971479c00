package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/internal/agentconfig"
	"github.com/vmlaunch/vmlaunch/internal/proc"
)

// patience bounds what a test waits for; nothing takes that long.
const patience = 30 * time.Second

func TestExit(t *testing.T) {
	c := startAgent(t).client(t)
	for _, test := range []struct {
		script string
		want   int
	}{
		{"exit 0", 0},
		{"exit 7", 7},
		{"exit 255", 255},
		{"kill -KILL $$", 137},
		{"kill -TERM $$", 143},
		{"kill -RTMIN $$", 128 + 34},
		{"exec /no/such/program", 127},
	} {
		if _, _, got := output(t, c, sh(test.script)); got != test.want {
			t.Errorf("%s: exit code %d, want %d", test.script, got, test.want)
		}
	}
}

// TestArguments asks that every argument arrives as it was given.
func TestArguments(t *testing.T) {
	args := []string{"printf", `%s\0`, "", "two words", "it's", `"q" \ $HOME $(id) *`, "a\nb", "-x", "=", "ü€", "; exit 9", "~"}
	want := strings.Join(args[2:], "\x00") + "\x00"
	for _, env := range []string{"", noShell + "=1"} {
		c := startAgent(t, env).client(t)
		if got, diag, exit := output(t, c, guest.Command{Args: args}); got != want || exit != 0 {
			t.Errorf("env %q: exit %d, got %q, want %q (%s)", env, exit, got, want, diag)
		}
	}
}

func TestNoShell(t *testing.T) {
	c := startAgent(t, noShell+"=1").client(t)
	_, diag, exit := output(t, c, guest.Command{Args: []string{"no-such-program"}})
	if exit != exitNotFound || !strings.Contains(diag, "no-such-program") {
		t.Errorf("exit %d, said %q; want %d and the name", exit, diag, exitNotFound)
	}
	_, diag, exit = output(t, c, guest.Command{Args: []string{"true"}, Dir: "/"})
	if exit != exitNotFound || !strings.Contains(diag, "shell") {
		t.Errorf("exit %d, said %q; want %d and that a shell is needed", exit, diag, exitNotFound)
	}
	if _, err := c.Run(t.Context(), guest.Command{}); err == nil {
		t.Error("a shell was granted where there is none")
	}
}

func TestStreams(t *testing.T) {
	c := startAgent(t).client(t)
	cmd := sh("cat; echo diag >&2")
	cmd.Stdin = strings.NewReader("in\n")
	out, diag, exit := output(t, c, cmd)
	if out != "in\n" || diag != "diag\n" || exit != 0 {
		t.Errorf("got %q, %q, exit %d", out, diag, exit)
	}
}

func TestEnvironment(t *testing.T) {
	c := startAgent(t).client(t)
	dir := t.TempDir()
	cmd := sh(`pwd; printf '%s|' "$A" "$B" "$HOME" "$USER"`)
	cmd.Env, cmd.Dir = []string{"A=it's $B", "B=", "USER=me"}, dir
	want := dir + "\n" + "it's $B||" + home() + "|me|"
	if out, _, _ := output(t, c, cmd); out != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

// TestEnviron asks that what the client sets comes last and once.
func TestEnviron(t *testing.T) {
	s := &session{term: &terminal{name: "vt100"}}
	for _, kv := range [][2]string{{"USER", "me"}, {"A", "1"}, {"A", "2"}} {
		if !s.setEnv(kv[0], kv[1]) {
			t.Errorf("%v was refused", kv)
		}
	}
	for _, bad := range [][2]string{{"", "x"}, {"A=B", "x"}, {"A", "\x00"}} {
		if s.setEnv(bad[0], bad[1]) {
			t.Errorf("%q was taken", bad)
		}
	}
	got := s.environ()
	for _, want := range []string{"USER=me", "A=2", "TERM=vt100", "LOGNAME=root"} {
		name, _, _ := strings.Cut(want, "=")
		var found []string
		for _, kv := range got {
			if strings.HasPrefix(kv, name+"=") {
				found = append(found, kv)
			}
		}
		if len(found) != 1 || found[0] != want {
			t.Errorf("%s: %q, want %q once", name, found, want)
		}
	}
}

// TestLargeStreams sends more than every window and pipe holds, both ways.
func TestLargeStreams(t *testing.T) {
	c := startAgent(t).client(t)
	in := bytes.Repeat([]byte("0123456789abcdef"), 1<<19) // 8 MiB
	var out bytes.Buffer
	exit, err := c.Run(t.Context(), guest.Command{Args: []string{"cat"}, Stdin: bytes.NewReader(in), Stdout: &out})
	if err != nil || exit != 0 {
		t.Fatal(exit, err)
	}
	if sha256.Sum256(in) != sha256.Sum256(out.Bytes()) {
		t.Errorf("%d bytes came back changed, of %d", out.Len(), len(in))
	}
}

// TestDaemon leaves a process behind that has the streams open: the session
// ends all the same, with all that was written before.
func TestDaemon(t *testing.T) {
	c := startAgent(t).client(t)
	out, _, exit := output(t, c, sh("sleep 1000 & echo $!; head -c 60000 /dev/zero; exit 3"))
	pid, rest, _ := strings.Cut(out, "\n")
	if exit != 3 || len(rest) != 60000 {
		t.Errorf("exit %d, %d bytes; want 3 and 60000", exit, len(rest))
	}
	if id := identify(t, pid); !id.Alive() {
		t.Errorf("pid %s was killed with its session", pid)
	} else if err := id.Signal(unix.SIGKILL); err != nil {
		t.Error(err)
	}
}

// TestDrain asks that what is in the pipes at the program's end comes out, and
// nothing is waited for although somebody can still write.
func TestDrain(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Write(make([]byte, 60000)); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	p := &plumbing{output: []stream{{from: r, to: &out}}}
	defer p.close()
	p.drain(new(sync.WaitGroup))
	if out.Len() != 60000 {
		t.Errorf("%d bytes came out, want 60000", out.Len())
	}
}

func TestManySessions(t *testing.T) {
	a := startAgent(t)
	one := a.client(t)
	var all sync.WaitGroup
	for i := range 50 {
		c := one
		if i%5 == 0 {
			c = a.client(t)
		}
		all.Go(func() {
			var out strings.Builder
			cmd := sh(fmt.Sprintf("read x; echo $x %d; exit %d", i, i))
			cmd.Stdin, cmd.Stdout = strings.NewReader("line\n"), &out
			exit, err := c.Run(t.Context(), cmd)
			if want := fmt.Sprintf("line %d\n", i); err != nil || exit != i || out.String() != want {
				t.Errorf("session %d: exit %d, %q, %v", i, exit, out.String(), err)
			}
		})
	}
	all.Wait()
}

// TestCancel ends the context of a program that ignores every polite request,
// and of its child, and asks that both are gone and the connection still good.
func TestCancel(t *testing.T) {
	c := startAgent(t).client(t)
	ctx, cancel := context.WithCancel(t.Context())
	pids := make(chan string, 1)
	cmd := sh("trap '' TERM HUP; sleep 1000 & echo $$ $!; wait; sleep 1000")
	cmd.Stdout = writerFunc(func(p []byte) (int, error) {
		pids <- string(p)
		return len(p), nil
	})
	done := make(chan error, 1)
	go func() {
		_, err := c.Run(ctx, cmd)
		done <- err
	}()
	both := strings.Fields(<-pids)
	ids := []proc.ID{identify(t, both[0]), identify(t, both[1])}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v, want context.Canceled", err)
	}
	for _, id := range ids {
		wait(t, id)
	}
	if out, _, _ := output(t, c, sh("echo still here")); out != "still here\n" {
		t.Errorf("the connection says %q", out)
	}
}

// TestClientGone cuts the connection under a running program, which gets the
// time to hear of it.
func TestClientGone(t *testing.T) {
	a := startAgent(t)
	conn := a.dial(t)
	c, err := guest.NewClient(t.Context(), conn, guest.Key{Private: a.keys.Client, Host: a.hostKey(t)})
	if err != nil {
		t.Fatal(err)
	}
	pids := make(chan string, 1)
	last := filepath.Join(t.TempDir(), "last words")
	// A loop: a shell that is about to wait may miss the signal until the wait ends.
	cmd := guest.Command{Args: []string{"sh", "-c", `trap 'echo bye > "$1"; exit' HUP; echo $$; while :; do sleep 0.02; done`, "sh", last}}
	cmd.Stdout = writerFunc(func(p []byte) (int, error) {
		pids <- strings.TrimSpace(string(p))
		_ = conn.Close()
		return len(p), nil
	})
	if _, err := c.Run(t.Context(), cmd); !errors.Is(err, guest.ErrGone) {
		t.Errorf("Run: %v, want ErrGone", err)
	}
	wait(t, identify(t, <-pids))
	if said, err := os.ReadFile(last); err != nil || string(said) != "bye\n" {
		t.Errorf("its last words: %q, %v", said, err)
	}
}

// TestAgentGone kills the other side.
func TestAgentGone(t *testing.T) {
	a := startAgent(t)
	c := a.client(t)
	cmd := sh("echo; exec sleep 1000")
	cmd.Stdout = writerFunc(func(p []byte) (int, error) { return len(p), a.cmd.Process.Kill() })
	if _, err := c.Run(t.Context(), cmd); !errors.Is(err, guest.ErrGone) {
		t.Errorf("Run: %v, want ErrGone", err)
	}
	if _, err := c.Run(t.Context(), sh("true")); !errors.Is(err, guest.ErrGone) {
		t.Errorf("Run on a dead connection: %v, want ErrGone", err)
	}
}

// TestBrokenStdout asks that a Stdout that fails ends the program.
func TestBrokenStdout(t *testing.T) {
	c := startAgent(t).client(t)
	broken := errors.New("broken")
	_, err := c.Run(t.Context(), guest.Command{Args: []string{"yes"}, Stdout: writerFunc(func([]byte) (int, error) { return 0, broken })})
	if !errors.Is(err, broken) {
		t.Errorf("Run: %v, want the writer's error", err)
	}
}

// TestStdinStays asks that a program that does not read leaves the rest of the
// input to the next reader.
func TestStdinStays(t *testing.T) {
	c := startAgent(t).client(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	defer r.Close()
	if exit, err := c.Run(t.Context(), guest.Command{Args: []string{"true"}, Stdin: r}); exit != 0 || err != nil {
		t.Fatal(exit, err)
	}
	if _, err := io.WriteString(w, "rest"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "rest" {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestIdentity(t *testing.T) {
	a, other := startAgent(t), startAgent(t)
	for _, test := range []struct {
		name string
		user []byte
		host *testAgent
		want error
	}{
		{"wrong host key", a.keys.Client, other, guest.ErrIdentity},
		{"wrong user key", other.keys.Client, a, fs.ErrPermission},
	} {
		c, err := guest.NewClient(t.Context(), a.dial(t), guest.Key{Private: test.user, Host: test.host.hostKey(t)})
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
		if c != nil {
			t.Errorf("%s: got a client", test.name)
		}
	}
}

// TestPowerOff asks for it as the host does, where there is no shell.
func TestPowerOff(t *testing.T) {
	for line, want := range map[string]ending{agentconfig.CommandPowerOff: powerOff, agentconfig.CommandReboot: reboot} {
		a := startAgent(t, noShell+"=1")
		exit, err := a.client(t).Run(t.Context(), guest.Command{Args: strings.Fields(line)})
		if err != nil || exit != 0 {
			t.Fatalf("%s: exit %d, %v", line, exit, err)
		}
		if got := a.line(t); got != want.String() {
			t.Errorf("%s: ends with %q, want %s", line, got, want)
		}
	}
}

// TestNotSSH asks that a stranger's bytes end his connection and nothing else.
func TestNotSSH(t *testing.T) {
	a := startAgent(t)
	conn := a.dial(t)
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"+strings.Repeat("x", 1<<16)); err != nil && !isReset(err) {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil && !isReset(err) {
		t.Errorf("not hung up on: %v", err)
	}
	if _, _, exit := output(t, a.client(t), sh("exit 4")); exit != 4 {
		t.Errorf("exit %d, want 4", exit)
	}
}

func isReset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && !op.Timeout()
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func identify(t *testing.T, pid string) proc.ID {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	id, err := proc.Identify(n)
	if err != nil && !errors.Is(err, proc.ErrGone) {
		t.Fatal(err)
	}
	return id
}

// wait waits until a process is gone.
func wait(t *testing.T, id proc.ID) {
	t.Helper()
	if id == (proc.ID{}) {
		return // it was gone when it was looked at
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := id.Wait(ctx); err != nil {
		t.Errorf("pid %d still runs: %v", id.PID, err)
	}
}
