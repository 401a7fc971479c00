package launcher

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestLockKeepsTheSecondOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "locks", "machine-web")
	first, err := waitLock(t.Context(), path, "machine", unix.LOCK_EX)
	if err != nil {
		t.Fatal(err)
	}
	if !locked(path) {
		t.Error("a held lock looks free")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err = waitLock(ctx, path, `machine "web"`, unix.LOCK_EX)
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

// TestLockIsExclusive lets several take the lock in turn as fast as they can; its
// file goes each time, often between the open and the flock of another one.
func TestLockIsExclusive(t *testing.T) {
	const takers, each = 4, 300
	path := filepath.Join(t.TempDir(), "machine-web")
	var all sync.WaitGroup
	var holders, crowds atomic.Int32 // the race detector knows nothing of flock
	for range takers {
		all.Go(func() {
			for turns := 0; turns < each; {
				k, err := tryLock(path)
				if errors.Is(err, errLocked) {
					runtime.Gosched()
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if holders.Add(1) > 1 {
					crowds.Add(1)
				}
				runtime.Gosched()
				turns++
				holders.Add(-1)
				k.release()
			}
		})
	}
	all.Wait()
	if n := crowds.Load(); n != 0 {
		t.Errorf("%d times there were several holders", n)
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

// TestSharedLockKeepsOutWhoWantsItAlone lets two share a lock. The file stays
// until both have given it up: else a third would lock another one.
func TestSharedLockKeepsOutWhoWantsItAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "netns-cell")
	var shared []*lock
	for range 2 {
		k, err := takeLock(path, unix.LOCK_SH)
		if err != nil {
			t.Fatal(err)
		}
		shared = append(shared, k)
	}
	for _, k := range shared {
		if alone, err := tryLock(path); !errors.Is(err, errLocked) {
			t.Errorf("got %+v, %v, want it locked", alone, err)
		}
		k.release()
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the lock's file stays")
	}
	alone, err := tryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	defer alone.release()
	if k, err := takeLock(path, unix.LOCK_SH); !errors.Is(err, errLocked) {
		t.Errorf("got %+v, %v, want it locked", k, err)
	}
}
