package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// oddNames are what files may be called.
func oddNames() []string {
	return []string{"two words", `it's "quoted" \ $HOME *`, "a\nb", "-r", "ü€", "=", ".hidden"}
}

// sshClient connects by the library alone, for what package guest does not have.
func (a *testAgent) sshClient(t *testing.T) (*ssh.Client, net.Conn) {
	t.Helper()
	signer, err := ssh.ParsePrivateKey(a.keys.Client)
	if err != nil {
		t.Fatal(err)
	}
	conn := a.dial(t)
	sc, channels, requests, err := ssh.NewClientConn(conn, "", &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.FixedHostKey(a.hostKey(t)),
	})
	if err != nil {
		t.Fatal(err)
	}
	c := ssh.NewClient(sc, channels, requests)
	t.Cleanup(func() { _ = c.Close() })
	return c, conn
}

// files asks the agent for SFTP.
func (a *testAgent) files(t *testing.T) (*sftp.Client, net.Conn) {
	t.Helper()
	c, conn := a.sshClient(t)
	f, err := sftp.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f, conn
}

// fileServers are the agent's children that serve files.
func (a *testAgent) fileServers(t *testing.T) (ids []proc.ID) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, stat := range stats {
		pid := filepath.Base(filepath.Dir(stat))
		text, err := os.ReadFile(stat)
		line, lerr := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
		if err != nil || lerr != nil {
			continue // it has ended since
		}
		_, fields, _ := strings.Cut(string(text), ") ")
		if strings.Fields(fields)[1] == fmt.Sprint(a.cmd.Process.Pid) && strings.Contains(string(line), sftpServer) {
			ids = append(ids, identify(t, pid))
		}
	}
	return ids
}

// TestFiles does by SFTP what is to be done to files, where there is no shell.
func TestFiles(t *testing.T) {
	f, _ := startAgent(t, noShell+"=1").files(t)
	if got, err := f.Getwd(); err != nil || got != home() {
		t.Errorf("begins in %q, %v; want %q", got, err, home())
	}
	dir := t.TempDir()
	for _, name := range oddNames() {
		path := filepath.Join(dir, name)
		w, err := f.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, name); err != nil {
			t.Error(err)
		}
		if err := errors.Join(w.Chmod(0o640), w.Close()); err != nil {
			t.Error(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != name {
			t.Errorf("%q says %q, %v", name, got, err)
		}
		if info, err := f.Lstat(path); err != nil || info.Mode() != 0o640 || info.Size() != int64(len(name)) {
			t.Errorf("%q: %v, %v", name, info, err)
		}
	}
	list, err := f.ReadDir(dir)
	if err != nil || len(list) != len(oddNames()) {
		t.Errorf("a folder of %d files: %v, %v", len(oddNames()), list, err)
	}
	link := filepath.Join(dir, "link")
	if err := errors.Join(f.Symlink("two words", link), f.Mkdir(dir+"/sub"), f.Chmod(dir+"/sub", 0o700), f.PosixRename(dir+"/=", dir+"/sub/moved"), f.Remove(dir+"/-r")); err != nil {
		t.Error(err)
	}
	if to, err := os.Readlink(link); err != nil || to != "two words" {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	if to, err := f.ReadLink(link); err != nil || to != "two words" {
		t.Errorf("the link is read as %q, %v", to, err)
	}
	if got, err := os.ReadFile(dir + "/sub/moved"); err != nil || string(got) != "=" {
		t.Errorf("what was moved says %q, %v", got, err)
	}
	if _, err := os.Lstat(dir + "/-r"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was removed: %v", err)
	}
}

func TestFilesFailures(t *testing.T) {
	f, _ := startAgent(t).files(t)
	dir := t.TempDir()
	_, open := f.Open(dir + "/none")
	_, create := f.Create(dir + "/none/file")
	_, list := f.ReadDir(dir + "/none")
	for what, err := range map[string]error{"open": open, "create": create, "list": list, "remove": f.Remove(dir + "/none")} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want that it does not exist", what, err)
		}
	}
	if err := f.Mkdir(dir); err == nil {
		t.Error("a folder that is there was made")
	}
}

func TestLargeFile(t *testing.T) {
	f, _ := startAgent(t).files(t)
	path := filepath.Join(t.TempDir(), "large")
	text := make([]byte, 16<<20)
	if _, err := rand.NewChaCha8([32]byte{}).Read(text); err != nil {
		t.Fatal(err)
	}
	w, err := f.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.ReadFrom(bytes.NewReader(text)); err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	r, err := f.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	sum := sha256.New()
	if n, err := r.WriteTo(sum); err != nil || n != int64(len(text)) {
		t.Errorf("%d bytes came back, %v", n, err)
	}
	if want := sha256.Sum256(text); !bytes.Equal(sum.Sum(nil), want[:]) {
		t.Error("they are others than were sent")
	}
}

func TestUnknownSubsystem(t *testing.T) {
	c, _ := startAgent(t).sshClient(t)
	for _, name := range []string{"netconf", "", "sftp-server", "SFTP"} {
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.RequestSubsystem(name); err == nil {
			t.Errorf("subsystem %q was granted", name)
		}
		_ = s.Close() // refused once it was answered
	}
}

// TestFilesClientGone cuts the connection amid an upload, and, of another client,
// while the server can't go on: it waits for somebody to write into a pipe.
func TestFilesClientGone(t *testing.T) {
	a := startAgent(t)
	dir := t.TempDir()
	if err := unix.Mkfifo(dir+"/pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	upload, one := a.files(t)
	stuck, two := a.files(t)
	servers := a.fileServers(t)
	if len(servers) != 2 {
		t.Fatalf("servers %v, want two", servers)
	}
	w, err := upload.Create(dir + "/part")
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 2)
	go func() {
		// Not its ReadFrom, which takes the end of the connection, an io.EOF, for that of the source.
		_, err := io.Copy(struct{ io.Writer }{w}, &cut{conn: one, after: 4 << 20})
		over <- err
	}()
	go func() {
		_, err := stuck.Open(dir + "/pipe")
		over <- err
	}()
	if err := <-over; err == nil {
		t.Error("an upload without a connection succeeded")
	}
	_ = two.Close()
	if err := <-over; err == nil {
		t.Error("a pipe that nobody writes into was opened")
	}
	for _, id := range servers {
		wait(t, id)
	}
}

// TestFilesEnd asks that a server ends with its client's input, with success if that
// was SFTP.
func TestFilesEnd(t *testing.T) {
	c, _ := startAgent(t).sshClient(t)
	for said, want := range map[string]uint32{"": 0, "\x00\x00\x00\x05\x01\x00\x00\x00\x03": 0, "GET / HTTP/1.0\r\n\r\n": 1, "\x00\x00": 1} {
		ch, requests, err := c.OpenChannel("session", nil)
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := ch.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{"sftp"})); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if _, err := io.WriteString(ch, said); err != nil {
			t.Error(err)
		}
		if err := ch.CloseWrite(); err != nil {
			t.Error(err)
		}
		var exit struct{ Status uint32 }
		for req := range requests {
			if err := ssh.Unmarshal(req.Payload, &exit); req.Type != "exit-status" || err != nil {
				t.Errorf("%q: %s, %v", said, req.Type, err)
			}
		}
		if exit.Status != want {
			t.Errorf("%q: exit code %d, want %d", said, exit.Status, want)
		}
	}
}

// A cut is endless zeros whose connection is closed after some bytes.
type cut struct {
	conn  net.Conn
	after int
}

func (c *cut) Read(p []byte) (int, error) {
	if c.after -= len(p); c.after <= 0 {
		_ = c.conn.Close()
	}
	return len(p), nil
}

// TestOpenSSHFiles has scp and sftp of OpenSSH copy a tree there and back.
func TestOpenSSHFiles(t *testing.T) {
	testenv.Require(t, testenv.SSH)
	a := startAgent(t)
	config := a.sshConfig(t)
	here, there := t.TempDir(), t.TempDir()
	var names []string
	for i, name := range oddNames() {
		names = append(names, filepath.Join(here, name))
		if err := os.WriteFile(names[i], []byte(name), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	run := func(want int, name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, append([]string{"-q", "-F", config}, args...)...)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != want {
			t.Errorf("%s %q: %v, want exit code %d: %s", name, args, err, want, out)
		}
		return string(out)
	}
	run(0, "scp", append(names, "agent:"+there)...)
	if err := os.MkdirAll(there+"/sub/deep", 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../two words", there+"/sub/link"); err != nil {
		t.Fatal(err)
	}
	back := t.TempDir()
	run(0, "scp", "-rp", "agent:"+there, back+"/all")
	escape := strings.NewReplacer(`\`, `\\`, `*`, `\*`)
	for _, name := range oddNames() {
		run(0, "scp", "agent:"+filepath.Join(there, escape.Replace(name)), back+"/one")
		for _, path := range []string{filepath.Join(there, name), filepath.Join(back, "all", name), filepath.Join(back, "one")} {
			if got, err := os.ReadFile(path); err != nil || string(got) != name {
				t.Errorf("%q says %q, %v", path, got, err)
			}
		}
		if info, err := os.Stat(filepath.Join(back, "all", name)); err != nil || info.Mode() != 0o640 {
			t.Errorf("%q: %v, %v", name, info, err)
		}
	}
	if got, err := os.ReadFile(back + "/all/sub/link"); err != nil || string(got) != "two words" {
		t.Errorf("what the link leads to says %q, %v", got, err) // scp follows links
	}
	if said := run(1, "scp", "agent:"+there+"/none", back); !strings.Contains(said, "No such file or directory") {
		t.Errorf("a file that is not there: %q", said)
	}
	batch := filepath.Join(back, "batch")
	lines := fmt.Sprintf("cd \"%s\"\nput -R \"%s/all/sub\" copy\nln -s copy/deep short\nrename ü€ plain\nrm .hidden\nchmod 600 =\nls -l\n-get none\n", there, back)
	if err := os.WriteFile(batch, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	said := run(0, "sftp", "-b", batch, "agent")
	for _, want := range []string{"plain", "-rw-------", "none"} {
		if !strings.Contains(said, want) {
			t.Errorf("sftp does not say %q: %s", want, said)
		}
	}
	if info, err := os.Stat(there + "/short"); err != nil || info.Mode() != fs.ModeDir|0o750 {
		t.Errorf("a folder that was put: %v, %v", info, err)
	}
	for _, gone := range []string{"ü€", ".hidden"} {
		if _, err := os.Lstat(filepath.Join(there, gone)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is there: %v", gone, err)
		}
	}
	if left := a.fileServers(t); len(left) > 0 {
		for _, id := range left {
			wait(t, id) // the last may be about to end
		}
	}
}

// sshConfig writes what OpenSSH needs to know of the agent.
func (a *testAgent) sshConfig(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	host, port, err := net.SplitHostPort(a.addr)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("Host agent\nHostName %s\nPort %s\nUser root\nIdentityFile %s/key\nIdentitiesOnly yes\nUserKnownHostsFile %s/known\nHostKeyAlias agent\nStrictHostKeyChecking yes\n", host, port, dir, dir)
	if err := errors.Join(os.WriteFile(dir+"/key", a.keys.Client, 0o600), os.WriteFile(dir+"/known", []byte("agent "+a.keys.HostPub+"\n"), 0o600),
		os.WriteFile(dir+"/config", []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	return dir + "/config"
}
