package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/internal/agentconfig"
)

// asAgent makes the test binary an agent: one that is no PID 1, but a child
// subreaper, so that orphans come to it as they do to PID 1. It reads its
// configuration from stdin and says its address on stdout.
const asAgent = "VMLAUNCH_TEST_AS_AGENT"

// noShell makes such an agent find no shell.
const noShell = "VMLAUNCH_TEST_NO_SHELL"

func TestMain(m *testing.M) {
	if os.Getenv(asAgent) != "" {
		os.Exit(serveTest())
	}
	if len(os.Args) == 2 && os.Args[1] == sftpServer { // started by such an agent
		os.Exit(run(os.Args[1:]))
	}
	if os.Getenv(asReaper) != "" {
		os.Exit(reapAll())
	}
	os.Exit(m.Run())
}

// serveTest is the agent without what only PID 1 of a machine can do.
func serveTest() int {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return failTest(err)
	}
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, unix.SIGCHLD)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGUSR2)
	// An init starts with no signal ignored; a test under nohup does not, and a
	// program can't trap what it was started to ignore.
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP)
	var cfg agentconfig.Config
	if err := json.NewDecoder(os.Stdin).Decode(&cfg); err != nil {
		return failTest(err)
	}
	a := &agent{con: console{os.Stderr}, children: newReaper(), asked: make(chan ending, 1)}
	var err error
	if a.server, err = newServer(cfg, a.con, a.children, a.ask); err != nil {
		return failTest(err)
	}
	if os.Getenv(noShell) != "" {
		a.server.shell = ""
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return failTest(err)
	}
	go a.server.serve(l)
	a.listeners = append(a.listeners, l)
	fmt.Println(l.Addr())
	fmt.Println(a.run(signals, changed))
	a.closeListeners()
	a.waitParted()
	return 0
}

func failTest(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// rerun runs the test binary as what env says.
func rerun(t *testing.T, env string) ([]byte, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), env+"=1")
	return cmd.CombinedOutput()
}

// A testAgent is a running one.
type testAgent struct {
	addr string
	keys guest.Keys
	out  *bufio.Reader // what it says after its address
	cmd  *exec.Cmd
}

// startAgent starts an agent that ends with the test.
func startAgent(t *testing.T, env ...string) *testAgent {
	t.Helper()
	keys, err := guest.NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := json.Marshal(agentconfig.Config{HostKey: string(keys.Host), AuthorizedKeys: []string{keys.ClientPub}})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), asAgent+"=1"), env...)
	cmd.Stdin = strings.NewReader(string(cfg))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true} // sessions must not signal the test
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	a := &testAgent{keys: keys, out: bufio.NewReader(out), cmd: cmd}
	a.addr = a.line(t)
	return a
}

// line returns the next line that the agent says.
func (a *testAgent) line(t *testing.T) string {
	t.Helper()
	s, err := a.out.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatalf("agent: %v", err)
	}
	return strings.TrimSpace(s)
}

// client connects to the agent.
func (a *testAgent) client(t *testing.T) *guest.Client {
	t.Helper()
	c, err := guest.NewClient(t.Context(), a.dial(t), guest.Key{Private: a.keys.Client, Host: a.hostKey(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (a *testAgent) dial(t *testing.T) net.Conn {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", a.addr)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func (a *testAgent) hostKey(t *testing.T) ssh.PublicKey {
	t.Helper()
	key, err := guest.ParsePublic(a.keys.HostPub)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// output runs a command and returns what it says.
func output(t *testing.T, c *guest.Client, cmd guest.Command) (stdout, stderr string, exit int) {
	t.Helper()
	var out, diag strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &diag
	exit, err := c.Run(t.Context(), cmd)
	if err != nil {
		t.Fatalf("%q: %v", cmd.Args, err)
	}
	return out.String(), diag.String(), exit
}

// sh is a command for the guest's shell.
func sh(script string) guest.Command { return guest.Command{Args: []string{"sh", "-c", script}} }
