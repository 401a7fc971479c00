package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Cache is a folder of things that take long to make: kernels, initramfs
// archives, the probe firmware. An entry is named by the digest of all that it
// was made from, so it is never changed, only added or removed as a whole.
// A Cache is safe for concurrent use, by several processes too.
type Cache struct {
	dir string

	// Progress, if not nil, is called with one line for each long step that
	// begins. Set it before the Cache is used.
	Progress func(step string)

	patience patience // of downloads; tests have less
}

// Open returns the cache in dir. Nothing is touched until something is built.
func Open(dir string) *Cache {
	if abs, err := filepath.Abs(dir); err == nil { // else there is no current folder: it can't be used then
		dir = abs
	}
	return &Cache{dir: dir, patience: patience{pause: pullPause, stall: pullStall}}
}

// Dir returns the cache's folder.
func (c *Cache) Dir() string { return c.dir }

func (c *Cache) progress(format string, args ...any) {
	if c.Progress != nil {
		c.Progress(fmt.Sprintf(format, args...))
	}
}

// lockPoll is how often a taken lock is asked for again. Builds take seconds
// at least, so nobody feels it.
const lockPoll = 50 * time.Millisecond

// entry returns the path of kind/key. If it isn't there it is made by build,
// under a lock, at a path beside it (a file or a folder, as build likes), and
// moved in place when it is complete. A failed or cancelled build leaves
// nothing; what a killed one left is removed by the next build of that entry.
func (c *Cache) entry(ctx context.Context, kind, key string, build func(tmp string) error) (path string, err error) {
	folder := filepath.Join(c.dir, kind)
	path = filepath.Join(folder, key)
	if exists(path) {
		return path, nil // an entry is complete or absent: no lock needed
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(ctx, filepath.Join(folder, "."+key+".lock"), func() {
		c.progress("waiting for another vmlaunch that makes %s %s", kind, key)
	})
	if err != nil {
		return "", err
	}
	defer unlock()
	if exists(path) { // made while we waited
		return path, nil
	}
	tmp := filepath.Join(folder, "."+key+".tmp")
	if err := os.RemoveAll(tmp); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	if err := build(tmp); err != nil {
		return "", err
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := flush(tmp); err != nil {
		return "", fmt.Errorf("write cache entry %s/%s: %w", kind, key, err)
	}
	return path, os.Rename(tmp, path)
}

// flush brings a new entry to the disk before it gets its name: a power cut
// must not leave a complete-looking entry with holes in it.
func flush(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil {
		return err
	} else if st.IsDir() {
		return unix.Syncfs(int(f.Fd()))
	}
	return f.Sync()
}

// lock takes the lock file at path, waiting until ctx ends; taken is called if
// there is something to wait for. The file stays when the lock is gone: removing
// it would let two holders in.
func lock(ctx context.Context, path string, taken func()) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if taken != nil {
			taken()
			taken = nil
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for lock %s: %w", path, ctx.Err())
		case <-tick.C:
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// digestLen is the length of a key in hex digits: 80 bits, far beyond any
// accident among the few dozen entries of a cache, and short in file names.
const digestLen = 20

// Digest names what an entry is made from. The parts are kept apart by their
// length, so that no two lists of parts share a digest.
func Digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))[:digestLen]
}

// DigestFiles returns the digest of files with the places they have where they
// are used. It fails if one can't be read.
func DigestFiles(files ...Library) (string, error) {
	var parts []string
	for _, f := range files {
		sum, err := digestFile(f.From)
		if err != nil {
			return "", err
		}
		parts = append(parts, f.Path, sum)
	}
	return Digest(parts...), nil
}

// digestFile returns the digest of a file's content.
func digestFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil))[:digestLen], nil
}

// entries returns the names of the complete entries of a kind, sorted.
func (c *Cache) entries(kind string) ([]string, error) {
	all, err := os.ReadDir(filepath.Join(c.dir, kind))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range all {
		if !strings.HasPrefix(e.Name(), ".") { // locks and unfinished ones
			names = append(names, e.Name())
		}
	}
	return names, nil
}
