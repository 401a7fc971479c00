package qmptest

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/qmp"
)

// patience bounds what should happen at once, on a host with better to do.
const patience = 20 * time.Second

// A Peer is a running QEMU with two monitors, its machine not started yet.
type Peer struct {
	Path, Second string // sockets of the monitors
	Process      *os.Process

	exited chan struct{}
	state  *os.ProcessState // set when exited is closed
}

// A Start starts a QEMU for one test and ends it with the test.
type Start func(t testing.TB) *Peer

// Command returns a [Start] for a program that takes QEMU's command line, run
// with env added to the environment. The first monitor gets a socket that
// listens before QEMU runs, the second one is made by QEMU.
func Command(program string, env ...string) Start {
	return func(t testing.TB) *Peer {
		t.Helper()
		dir, err := os.MkdirTemp("", "qmp") // t.TempDir is too long for a socket
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		p := &Peer{Path: filepath.Join(dir, "a"), Second: filepath.Join(dir, "b"), exited: make(chan struct{})}
		listener, err := qmp.Listen(p.Path)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()

		cmd := exec.Command(program,
			"-machine", "none", "-nodefaults", "-display", "none", "-S",
			"-chardev", "socket,id=b,path="+p.Second+",server=on,wait=off", "-mon", "chardev=b,mode=control",
			"-chardev", "socket,id=a,fd=3,server=on,wait=off", "-mon", "chardev=a,mode=control")
		cmd.Env = append(os.Environ(), env...)
		cmd.ExtraFiles = []*os.File{listener}
		cmd.Stderr = &logWriter{t: t}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		p.Process = cmd.Process
		go func() {
			defer close(p.exited)
			cmd.Wait() // its error is in the state
			p.state = cmd.ProcessState
		}()
		t.Cleanup(func() {
			p.Process.Kill()
			<-p.exited
		})
		return p
	}
}

// dial opens a monitor of a peer that is well, for the length of the test.
func dial(t testing.TB, path string) *qmp.Client {
	t.Helper()
	c, err := qmp.Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// signal sends sig and, for the signals that freeze and thaw, waits until it
// has taken effect.
func (p *Peer) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := p.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	if sig != syscall.SIGSTOP {
		return
	}
	eventually(t, "the process is stopped", func() bool { return p.procState() == 'T' })
}

// procState is the process's state letter in /proc (see proc_pid_stat(5)), or 0.
func (p *Peer) procState() byte {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.Process.Pid), "stat"))
	if err != nil {
		return 0
	}
	name := bytes.LastIndexByte(stat, ')') // the state stands two bytes after it
	return stat[name+2]
}

// exit waits for the peer's end and returns how it ended.
func (p *Peer) exit(t testing.TB) *os.ProcessState {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Fatalf("QEMU still runs after %v", patience)
	}
	return p.state
}

// eventually waits until the outside has come to the state called what.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not after %v: %s", patience, what)
		}
	}
}

// logWriter puts what a process says into the log of its test.
type logWriter struct {
	mu sync.Mutex
	t  testing.TB
}

var _ io.Writer = (*logWriter)(nil)

func (w *logWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t.Logf("qemu: %s", b)
	return len(b), nil
}
