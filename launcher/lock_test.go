package launcher

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestLockKeepsTheSecondOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "locks", "machine-web")
	first, err := waitLock(t.Context(), path, "machine")
	if err != nil {
		t.Fatal(err)
	}
	if !locked(path) {
		t.Error("a held lock looks free")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err = waitLock(ctx, path, `machine "web"`)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `machine "web": is being worked on by pid `) {
		t.Errorf("got %v, want a timeout that names the holder", err)
	}
	first.release()
	first.release() // twice is fine
	if locked(path) {
		t.Error("a free lock looks held")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the lock's file stays")
	}
}

// TestLockIsExclusive lets many take the lock, whose file goes each time.
func TestLockIsExclusive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "machine-web")
	var all sync.WaitGroup
	var holders, crowds, turns atomic.Int32 // the race detector knows nothing of flock
	for range 8 {
		all.Go(func() {
			for range 10 {
				k, err := waitLock(t.Context(), path, "machine")
				if err != nil {
					t.Error(err)
					return
				}
				if holders.Add(1) > 1 {
					crowds.Add(1)
				}
				turns.Add(1)
				holders.Add(-1)
				k.release()
			}
		})
	}
	all.Wait()
	if crowds.Load() != 0 || turns.Load() != 80 {
		t.Errorf("%d times several holders in %d turns, want 0 in 80", crowds.Load(), turns.Load())
	}
}

// TestLockFileThatWasRemoved is the moment between opening a lock's file and
// locking it, in which its holder removes it.
func TestLockFileThatWasRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "machine-web")
	k, err := tryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	late, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	if !isFile(late, path) {
		t.Error("the file there is taken for another one")
	}
	k.release()
	if isFile(late, path) {
		t.Error("a removed file is taken for the lock")
	}
	next, err := tryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	defer next.release()
	if isFile(late, path) {
		t.Error("a removed file is taken for the next lock")
	}
}
