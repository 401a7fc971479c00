package launcher

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
	holders, most, turns := 0, 0, 0
	for range 8 {
		all.Go(func() {
			for range 10 {
				k, err := waitLock(t.Context(), path, "machine")
				if err != nil {
					t.Error(err)
					return
				}
				holders++ // the race detector would tell as well
				most = max(most, holders)
				turns++
				holders--
				k.release()
			}
		})
	}
	all.Wait()
	if most != 1 || turns != 80 {
		t.Errorf("%d holders at once in %d turns, want 1 in 80", most, turns)
	}
}
