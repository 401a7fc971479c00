package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

func nothing(*Tx) error { return nil }

func TestLockNamesItsHolder(t *testing.T) {
	s := New(t.TempDir())
	update(t, s, fill)
	c := start(t, s, "hold", nil)
	if got := c.line(); got != "holding" {
		t.Fatalf("child says %q", got)
	}
	want := fmt.Sprintf(`locked by pid %d ("vmlaunch-test")`, c.cmd.Process.Pid)
	for name, do := range map[string]func(context.Context, func(*Tx) error) error{
		"view": s.View, "update": s.Update,
		"rebuild": func(ctx context.Context, fn func(*Tx) error) error { _, err := s.Rebuild(ctx, fn); return err },
		"backup":  func(ctx context.Context, _ func(*Tx) error) error { _, err := s.Backup(ctx); return err },
		"salvage": func(ctx context.Context, _ func(*Tx) error) error { _, err := s.Salvage(ctx); return err },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			err := do(ctx, nothing)
			if !errors.Is(err, ErrLocked) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want ErrLocked and the deadline", err)
			}
			if err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want it to say %s", err, want)
			}
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Update(ctx, nothing); !errors.Is(err, context.Canceled) || errors.Is(err, ErrLocked) {
			t.Errorf("got %v, want only context.Canceled", err)
		}
	})
	c.kill()
	// The waiters that gave up must not keep what they are given too late.
	update(t, s, nothing)
	if b, err := os.ReadFile(filepath.Join(s.dir, lockName)); err != nil || len(b) != 0 {
		t.Errorf("the lock file says %q (%v) while nobody holds it", b, err)
	}
}

// TestStalledWaitNamesTheHolder checks what is said when LockWait is over,
// without waiting for it.
func TestStalledWaitNamesTheHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), lockName)
	tests := map[string]struct{ note, want string }{
		"gone":    {"1073741824 vmlaunch up", "locked by an unknown process, which has done nothing for 1m0s (end it if it hangs)"},
		"garbage": {"x", "locked by an unknown process"},
		"empty":   {"", "locked by an unknown process"},
		"long":    {fmt.Sprintf("%d vmlaunch up a b", os.Getpid()), fmt.Sprintf(`locked by pid %d ("vmlaunch up a b"), which has done`, os.Getpid())},
		"escape":  {fmt.Sprintf("%d \x1b[31m", os.Getpid()), `("\x1b[31m")`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(tt.note), 0o600); err != nil {
				t.Fatal(err)
			}
			err := lockError(path, errStalled)
			if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want it to say %s", err, tt.want)
			}
		})
	}
}

// TestLockOfARemovedFileIsNoLock removes the lock file under its holder's feet:
// who waits must not end up with the removed one while others take a new one.
func TestLockOfARemovedFileIsNoLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), lockName)
	held, err := lock(t.Context(), path, makeIt)
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		l   *lockFile
		err error
	}
	waiter := make(chan result)
	opened := openFiles(t)
	go func() {
		l, err := lock(t.Context(), path, makeIt)
		waiter <- result{l, err}
	}()
	waitFor(t, "waiter to open the file", func() bool { return openFiles(t) > opened })
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	got := <-waiter
	if got.err != nil {
		t.Fatal(got.err)
	}
	defer got.l.Close()
	if !same(got.l.f, path) {
		t.Error("the waiter holds a file that is not there any more")
	}
}

// TestForeignToolIsNamedAsSuch opens the file as the bbolt tool would, past the
// lock file.
func TestForeignToolIsNamedAsSuch(t *testing.T) {
	s := New(t.TempDir())
	update(t, s, fill)
	db, err := bolt.Open(s.Path(), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := s.View(t.Context(), nothing); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "not vmlaunch") {
		t.Errorf("got %v, want ErrLocked by another program", err)
	}
}

// TestViewWithoutALockFileMakesNone is about a state file restored from a copy.
func TestViewWithoutALockFileMakesNone(t *testing.T) {
	s := New(t.TempDir())
	update(t, s, fill)
	path := filepath.Join(s.dir, lockName)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the view made a lock file (%v)", err)
	}
}

// TestKilledWriterLosesNothing kills a process amid its commits, again and
// again: what it was told is committed stays.
func TestKilledWriterLosesNothing(t *testing.T) {
	s := New(t.TempDir())
	total := 0
	for round := range 10 {
		c := start(t, s, "count", nil)
		told := 0
		for told <= round {
			told = c.number()
		}
		c.kill()
		got := counted(t, s)
		// The last commit may have been cut off from its message.
		if least := total + told; got < least {
			t.Fatalf("round %d: counted %d, want at least %d", round, got, least)
		}
		total = got
		if err := s.Check(t.Context()); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
}

// TestNoRoomLeavesNoHalfFile fails the very first write and a later one.
func TestNoRoomLeavesNoHalfFile(t *testing.T) {
	s := New(t.TempDir())
	if got := start(t, s, "full", nil).line(); !strings.Contains(got, "file too large") {
		t.Errorf("child says %q, want file too large", got)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != lockName {
		t.Errorf("directory has %v (%v), want the lock file only", entries, err)
	}
	update(t, s, count)
	if got := start(t, s, "full", nil).line(); !strings.Contains(got, "write state") || !strings.Contains(got, "file too large") {
		t.Errorf("child says %q, want write state: file too large", got)
	}
	if n := counted(t, s); n != 1 {
		t.Errorf("the old state says %d, want 1", n)
	}
	update(t, s, count)
}

func TestStrangersMayNot(t *testing.T) {
	testenv.Require(t, testenv.Root)
	// A path that nobody can enter is not what is tested.
	dir, err := os.MkdirTemp("/tmp", "vmlaunch-store-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := New(filepath.Join(dir, "state"))
	update(t, s, fill)
	nobody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	for _, job := range []string{"view", "update"} {
		want := "error: open state " + s.Path() + ": permission denied (run as its owner, or choose another place with --root)"
		if got := start(t, s, job, nobody).line(); got != want && !(job == "update" && got == strings.Replace(want, "state.db", "state.lock", 1)) {
			t.Errorf("%s as nobody: got %q, want %q", job, got, want)
		}
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

// waitFor asks until ok, for ten seconds at most.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for the %s", what)
		}
	}
}
