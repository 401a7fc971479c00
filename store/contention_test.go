package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

const (
	contenders  = 100
	updatesEach = 3
)

// contend says "ready", waits for a line, does updatesEach times what update
// does, and prints how long the longest took, in nanoseconds.
func contend(update func() error) error {
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	var worst time.Duration
	for range updatesEach {
		begin := time.Now()
		if err := update(); err != nil {
			return err
		}
		worst = max(worst, time.Since(begin))
	}
	fmt.Println(worst.Nanoseconds())
	return nil
}

// boltUpdate changes the file with bbolt's own lock for a lock.
func boltUpdate(path string, fn func(*Tx) error) error {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Minute, FreelistType: bolt.FreelistMapType, NoStatistics: true})
	if err != nil {
		return err
	}
	f := &file{db: db, path: path}
	return errors.Join(f.update(fn), f.Close())
}

// race lets many processes do job at once and returns how long that took, and
// the longest wait of each.
func race(t testing.TB, s *Store, job string) (total time.Duration, waits []time.Duration) {
	t.Helper()
	children := make([]*child, contenders)
	for i := range children {
		children[i] = start(t, s, job, nil)
	}
	for _, c := range children {
		if got := c.line(); got != "ready" {
			t.Fatalf("child says %q", got)
		}
	}
	begin := time.Now()
	for _, c := range children {
		fmt.Fprintln(c.in)
	}
	for _, c := range children {
		waits = append(waits, time.Duration(c.number()))
	}
	return time.Since(begin), waits
}

// TestHundredProcessesLoseNoUpdate asks that all get their turn, and none twice.
func TestHundredProcessesLoseNoUpdate(t *testing.T) {
	s := New(t.TempDir())
	total, waits := race(t, s, "contend")
	if n := counted(t, s); n != contenders*updatesEach {
		t.Errorf("counted %d, want %d", n, contenders*updatesEach)
	}
	t.Logf("all in %v, the longest wait %v", total, slices.Max(waits))
}

// TestLockIsGivenInTheOrderItWasAskedFor holds the lock until a row of processes
// waits for it, each come after the one before. None of them may have it again
// before the last has had it once, however fast they come back.
func TestLockIsGivenInTheOrderItWasAskedFor(t *testing.T) {
	s := New(t.TempDir())
	update(t, s, nothing)
	path := filepath.Join(s.dir, lockName)
	held, err := lock(t.Context(), path, makeIt)
	if err != nil {
		t.Fatal(err)
	}
	children := make([]*child, 12)
	for i := range children {
		children[i] = start(t, s, "turns", nil)
		waitFor(t, "child to queue", func() bool { return queued(t, path) == i+1 })
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	for i, c := range children {
		if got := c.number(); got != i+1 {
			t.Errorf("number %d in the row had the lock as number %d", i+1, got)
		}
	}
}

// queued returns how many the kernel knows to wait for a lock on the file at
// path. /proc/locks comes in pieces, and a lock that is added between two of them
// makes a line come twice: it counts what two looks agree on.
func queued(t *testing.T, path string) int {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	inode := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for before := -1; ; {
		locks, err := os.ReadFile("/proc/locks")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for line := range strings.Lines(string(locks)) {
			if f := strings.Fields(line); slices.Contains(f, "->") && slices.Contains(f, inode) {
				n++
			}
		}
		if n == before {
			return n
		}
		before = n
	}
}

// TestDeadWaiterLetsNobodyIn kills one in the middle of the row. The one behind
// it must not have the lock together with its holder.
func TestDeadWaiterLetsNobodyIn(t *testing.T) {
	s := New(t.TempDir())
	update(t, s, nothing)
	path := filepath.Join(s.dir, lockName)
	held, err := lock(t.Context(), path, makeIt)
	if err != nil {
		t.Fatal(err)
	}
	first := start(t, s, "turns", nil)
	waitFor(t, "first child to queue", func() bool { return queued(t, path) == 1 })
	second := start(t, s, "turns", nil)
	waitFor(t, "second child to queue", func() bool { return queued(t, path) == 2 })
	first.kill()
	waitFor(t, "second child to come forward", func() bool {
		return queued(t, path) == 1
	})
	start(t, s, "turns", nil)
	waitFor(t, "third child to queue", func() bool { return queued(t, path) == 2 })
	if got, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(got), strconv.Itoa(os.Getpid())+" ") {
		t.Errorf("the lock file says %q (%v), want this process", got, err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	if got := second.number(); got != 1 {
		t.Errorf("the second had the lock as number %d, want 1", got)
	}
}

// TestWaitGoesOnWhileTheQueueMoves tells a waiter the time: it may wait far
// longer than LockWait while holders change, and no longer with one of them.
func TestWaitGoesOnWhileTheQueueMoves(t *testing.T) {
	path := filepath.Join(t.TempDir(), lockName)
	held, err := lock(t.Context(), path, makeIt)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	ticks, ended := make(chan time.Time), make(chan error)
	go func() {
		_, err := lockInTurn(context.WithoutCancel(t.Context()), path, makeIt, &queue{path: path, ticks: ticks})
		ended <- err
	}()
	now := time.Now()
	tick := func(after time.Duration) error {
		now = now.Add(after)
		select {
		case ticks <- now:
			return nil
		case err := <-ended:
			return err
		}
	}
	for i := range 10 {
		if err := tick(LockWait - 1); err != nil {
			t.Fatalf("gave up after %d holders: %v", i, err)
		}
		if err := os.Chtimes(path, now, now); err != nil { // as the note of the next one
			t.Fatal(err)
		}
	}
	if err := tick(LockWait - 1); err != nil {
		t.Fatalf("gave up too early: %v", err)
	}
	if err := tick(LockWait); err != nil {
		t.Fatalf("gave up before it was told the time: %v", err)
	}
	if err := <-ended; !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("by pid %d", os.Getpid())) {
		t.Errorf("got %v, want ErrLocked by this process", err)
	}
}

// TestWaitGoesOnWhileTheHolderWorks is about one that has to share its processors
// with a hundred others, and one that was stopped.
func TestWaitGoesOnWhileTheHolderWorks(t *testing.T) {
	path := filepath.Join(t.TempDir(), lockName)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	now, worked := time.Now(), uint64(0)
	q := queue{path: path, worked: func() uint64 { return worked }}
	look := func() error { now = now.Add(LockWait); return q.look(now) }
	for i := range 10 {
		worked++
		if err := look(); err != nil {
			t.Fatalf("gave up after %d times: %v", i, err)
		}
	}
	if err := look(); !errors.Is(err, errStalled) {
		t.Errorf("a holder that does nothing any more: %v, want errStalled", err)
	}
}

// BenchmarkContention lets 100 processes do 3 updates each, with the lock file
// and with bbolt's own lock, which polls. The ratios are polled / queued.
func BenchmarkContention(b *testing.B) {
	var total, worst [2]time.Duration
	for range b.N {
		for i, job := range []string{"contend", "contend-bolt"} {
			s := New(b.TempDir())
			if err := s.Update(b.Context(), nothing); err != nil {
				b.Fatal(err)
			}
			all, waits := race(b, s, job)
			total[i] += all
			worst[i] += slices.Max(waits)
		}
	}
	b.ReportMetric(float64(total[0].Milliseconds())/float64(b.N), "total-ms")
	b.ReportMetric(float64(worst[0].Milliseconds())/float64(b.N), "worst-ms")
	b.ReportMetric(float64(total[1])/float64(total[0]), "total-ratio")
	b.ReportMetric(float64(worst[1])/float64(worst[0]), "worst-ratio")
}
