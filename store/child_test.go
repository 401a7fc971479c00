package store

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// childEnv makes the test binary play another process: its value is what to do,
// and in which directory.
const childEnv = "VMLAUNCH_STORE_CHILD"

func TestMain(m *testing.M) {
	if job, dir, ok := strings.Cut(os.Getenv(childEnv), " "); ok {
		if err := play(job, New(dir)); err != nil {
			fmt.Println("error:", err)
		}
		return
	}
	os.Exit(m.Run())
}

// play does one job, and prints a line when there is something to know.
func play(job string, s *Store) error {
	ctx := context.Background()
	if job, ok := strings.CutPrefix(job, "room-"); ok {
		return playRoom(ctx, job, s)
	}
	switch job {
	case "hold": // until standard input ends
		return s.Update(ctx, func(tx *Tx) error {
			fmt.Println("holding")
			_, err := bufio.NewReader(os.Stdin).ReadString('\n')
			return err
		})
	case "count": // until killed, each commit told
		for n := 1; ; n++ {
			if err := s.Update(ctx, count); err != nil {
				return err
			}
			fmt.Println(n)
		}
	case "turns": // three times at once, each time telling which one it was
		for range 3 {
			n := uint32(0)
			err := s.Update(ctx, func(tx *Tx) error {
				err := count(tx)
				m, _ := tx.Machine("count")
				n = m.NotifyPort
				return err
			})
			if err != nil {
				return err
			}
			fmt.Println(n)
		}
		return nil
	case "contend": // with many others, all from the same moment
		return contend(func() error { return s.Update(ctx, count) })
	case "contend-bolt": // without the lock file, as bbolt alone would
		return contend(func() error { return boltUpdate(s.Path(), count) })
	case "old": // a program that lacks the last migration, about to update
		l, err := s.lockForWriting(ctx)
		if err != nil {
			return err
		}
		defer l.Close()
		f, err := openFile(s.Path(), readWrite)
		if err != nil {
			return err
		}
		defer f.Close()
		steps := migrations()
		return f.migrate(steps[:len(steps)-1])
	case "readonly":
		return playReadOnly(ctx, s, func(what string, v any) {
			if v == nil {
				v = ""
			}
			fmt.Printf("%s: %v\n", what, v)
		})
	case "rebuild": // until killed, each told
		for n := 1; ; n++ {
			if _, err := s.Rebuild(ctx, count); err != nil {
				return err
			}
			fmt.Println(n)
		}
	case "full": // with no room for a file of more than one page
		signal.Ignore(syscall.SIGXFSZ)
		limit := syscall.Rlimit{Cur: 4096, Max: 4096}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			return err
		}
		return s.Update(ctx, fill)
	case "view":
		return s.View(ctx, func(*Tx) error { return nil })
	case "update":
		return s.Update(ctx, fill)
	}
	return fmt.Errorf("no such job: %s", job)
}

// A child is another process at work on the same state.
type child struct {
	t     testing.TB
	cmd   *exec.Cmd
	in    io.Writer
	lines *bufio.Scanner
}

// start runs job on s in another process, which is killed at the end of the test
// if need be.
func start(t testing.TB, s *Store, job string, attr *syscall.SysProcAttr) *child {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args[0] = "vmlaunch-test"
	cmd.Env = append(os.Environ(), childEnv+"="+job+" "+s.dir)
	cmd.SysProcAttr = attr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{t, cmd, in, bufio.NewScanner(out)}
	t.Cleanup(c.kill)
	return c
}

// line returns the next line the child prints, "" at its end.
func (c *child) line() string {
	c.lines.Scan()
	return c.lines.Text()
}

// number returns the next line as a number.
func (c *child) number() int {
	c.t.Helper()
	line := c.line()
	n, err := strconv.Atoi(line)
	if err != nil {
		c.t.Fatalf("child says %q, want a number", line)
	}
	return n
}

// kill ends the child by SIGKILL and reaps it. Twice is fine.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}
