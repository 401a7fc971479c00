package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/configs"
)

// A fileServer serves one file in the way that a test wants.
type fileServer struct {
	*httptest.Server
	data    []byte
	etag    string
	ranges  bool                                           // parts are served, too
	meddle  func(n int, w http.ResponseWriter) (done bool) // called with the number of the request, from 1; nil for none
	asked   atomic.Int32
	partial atomic.Int32 // answers that were parts
}

func newFileServer(t *testing.T, data []byte) *fileServer {
	t.Helper()
	s := &fileServer{data: data, etag: `"one"`, ranges: true}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *fileServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := int(s.asked.Add(1))
	if r.URL.Path == "/moved" {
		http.Redirect(w, r, "/disk.raw", http.StatusFound)
		return
	}
	if s.meddle != nil && s.meddle(n, w) {
		return
	}
	if !s.ranges {
		_, _ = w.Write(s.data) // whoever asked looks at what came
		return
	}
	if s.etag != "" {
		w.Header().Set("ETag", s.etag)
	}
	counted := &statusWriter{ResponseWriter: w}
	http.ServeContent(counted, r, "", time.Time{}, bytes.NewReader(s.data))
	if counted.status == http.StatusPartialContent {
		s.partial.Add(1)
	}
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// breakOff sends the first n bytes of a whole file and cuts the line.
func (s *fileServer) breakOff(w http.ResponseWriter, n int) bool {
	if s.etag != "" {
		w.Header().Set("ETag", s.etag)
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(s.data)))
	_, _ = w.Write(s.data[:n])
	panic(http.ErrAbortHandler) //nolint:forbidigo // how net/http cuts a line
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// sampleDisk is a raw disk image that no two places of are alike.
func sampleDisk(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}

func (s *fileServer) source() Source {
	return Source{Name: "base", URL: s.URL + "/disk.raw", SHA256: digest(s.data)}
}

// wantPulled looks whether the image is there as it should be.
func wantPulled(t *testing.T, c *Cache, name string, data []byte) {
	t.Helper()
	path, err := c.Pulled(name)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) {
		t.Errorf("got %d bytes, want %d (%v)", len(got), len(data), err)
	}
	if left, _ := filepath.Glob(filepath.Join(c.dir, diskKind, ".*.part*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func wantNotPulled(t *testing.T, c *Cache, name string) {
	t.Helper()
	if _, err := c.Pulled(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("image %q is there: %v", name, err)
	}
}

func TestPull(t *testing.T) {
	data := sampleDisk(3<<20 + 17)
	whole := func(*fileServer, http.ResponseWriter, int) bool { return false }
	for name, c := range map[string]struct {
		path    string
		ranges  bool
		etag    string
		meddle  func(*fileServer, http.ResponseWriter, int) bool
		partial int32 // answers that have to be parts
		asked   int32
	}{
		"at once":              {"/disk.raw", true, `"one"`, whole, 0, 1},
		"behind a redirection": {"/moved", true, `"one"`, whole, 0, 2},
		"with the line cut": {"/disk.raw", true, `"one"`, func(s *fileServer, w http.ResponseWriter, n int) bool {
			return n == 1 && s.breakOff(w, 1<<20)
		}, 1, 2},
		"with the line cut, nothing to tell the file by": {"/disk.raw", true, "", func(s *fileServer, w http.ResponseWriter, n int) bool {
			return n == 1 && s.breakOff(w, 1<<20)
		}, 1, 2},
		"with the line cut, of a server without parts": {"/disk.raw", false, "", func(s *fileServer, w http.ResponseWriter, n int) bool {
			return n == 1 && s.breakOff(w, 1<<20)
		}, 0, 2},
		"of a server that is busy at first": {"/disk.raw", true, `"one"`, func(_ *fileServer, w http.ResponseWriter, n int) bool {
			if n > 2 {
				return false
			}
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}, 0, 3},
		"of a server that sends another part": {"/disk.raw", true, `"one"`, func(s *fileServer, w http.ResponseWriter, n int) bool {
			if n == 1 {
				return s.breakOff(w, 1<<20)
			}
			if n == 2 {
				w.Header().Set("Content-Range", fmt.Sprintf("bytes 5-9/%d", len(s.data)))
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(s.data[5:10])
			}
			return n == 2
		}, 0, 3},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFileServer(t, data)
			s.ranges, s.etag = c.ranges, c.etag
			s.meddle = func(n int, w http.ResponseWriter) bool { return c.meddle(s, w, n) }
			cache, from := Open(t.TempDir()), s.source()
			from.URL = s.URL + c.path
			e, err := quickPull(t.Context(), cache, from)
			if err != nil {
				t.Fatal(err)
			}
			if e.Ref != "base" || e.Kind != "disk" || e.Bytes < int64(len(data)) {
				t.Errorf("entry: %+v", e)
			}
			wantPulled(t, cache, "base", data)
			if s.partial.Load() != c.partial || s.asked.Load() != c.asked {
				t.Errorf("%d requests, %d answered in part, want %d and %d", s.asked.Load(), s.partial.Load(), c.asked, c.partial)
			}
			if _, err := cache.Pull(t.Context(), from); err != nil || s.asked.Load() != c.asked {
				t.Errorf("a second pull: %v, %d requests", err, s.asked.Load())
			}
		})
	}
}

// quickPull pulls without the pauses that are for real servers.
func quickPull(ctx context.Context, c *Cache, s Source) (Entry, error) {
	c.patience = patience{pause: time.Millisecond, stall: 2 * time.Second}
	return c.Pull(ctx, s)
}

// TestPullGoesOn is for a pull that was ended, by a signal or by kill -9, with the
// part it had on disk: another one goes on there, if the server has the same file.
func TestPullGoesOn(t *testing.T) {
	data := sampleDisk(2 << 20)
	for name, c := range map[string]struct {
		change  func(*fileServer, *Source, string)
		partial int32
	}{
		"with the same file": {func(*fileServer, *Source, string) {}, 1},
		"with another file": {func(s *fileServer, from *Source, _ string) {
			s.data = sampleDisk(1<<20 + 1) // its server does not tell them apart
			from.SHA256 = digest(s.data)
		}, 0},
		"with a file that has changed and says so": {func(s *fileServer, from *Source, part string) {
			s.data, s.etag = bytes.Clone(s.data), `"two"`
			s.data[0]++
			from.SHA256 = digest(s.data)
			rewriteNote(part, from.SHA256)
		}, 0},
		"with a file that has changed and does not say": {func(s *fileServer, from *Source, part string) {
			s.data = bytes.Clone(s.data)
			s.data[0]++
			from.SHA256 = digest(s.data)
			rewriteNote(part, from.SHA256)
		}, 1},
		"with a part that lost what was written last": {func(_ *fileServer, _ *Source, part string) {
			f, err := os.OpenFile(part, os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt(make([]byte, 4096), 1000)
			}
			if err != nil {
				panic(err)
			}
			f.Close()
		}, 1},
		"with a note that is no note": {func(_ *fileServer, _ *Source, part string) {
			if err := os.WriteFile(part+".json", []byte("{"), 0o600); err != nil {
				panic(err)
			}
		}, 0},
		"with all of it there": {func(s *fileServer, _ *Source, part string) {
			if err := os.WriteFile(part, s.data, 0o600); err != nil {
				panic(err)
			}
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFileServer(t, data)
			cache := Open(t.TempDir())
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s.meddle = func(n int, w http.ResponseWriter) bool {
				if n > 1 {
					return false
				}
				w.Header().Set("ETag", s.etag)
				w.Header().Set("Content-Length", fmt.Sprint(len(data)))
				_, _ = w.Write(data[:1<<20])
				_ = http.NewResponseController(w).Flush()
				part := filepath.Join(cache.dir, diskKind, ".base.part")
				for tick := time.Tick(time.Millisecond); ; <-tick {
					if st, err := os.Stat(part); err == nil && st.Size() == 1<<20 {
						break
					}
				}
				cancel()
				return true
			}
			if _, err := quickPull(ctx, cache, s.source()); !errors.Is(err, context.Canceled) {
				t.Fatalf("got %v, want to be cancelled", err)
			}
			wantNotPulled(t, cache, "base")
			from := s.source()
			c.change(s, &from, filepath.Join(cache.dir, diskKind, ".base.part"))
			if _, err := quickPull(t.Context(), cache, from); err != nil {
				t.Fatal(err)
			}
			wantPulled(t, cache, "base", s.data)
			if s.partial.Load() != c.partial {
				t.Errorf("%d answers in part, want %d", s.partial.Load(), c.partial)
			}
		})
	}
}

// rewriteNote makes a part one of a file with another digest.
func rewriteNote(part, sha256 string) {
	text, err := os.ReadFile(part + ".json")
	if err == nil {
		i := bytes.Index(text, []byte(`"sha256":"`)) + len(`"sha256":"`)
		copy(text[i:], sha256)
		err = os.WriteFile(part+".json", text, 0o600)
	}
	if err != nil {
		panic(err)
	}
}

func TestPullFails(t *testing.T) {
	data := sampleDisk(1 << 20)
	answer := func(status int) func(int, http.ResponseWriter) bool {
		return func(_ int, w http.ResponseWriter) bool { w.WriteHeader(status); return true }
	}
	for name, c := range map[string]struct {
		meddle func(int, http.ResponseWriter) bool
		change func(*Source)
		is     error
		says   string
	}{
		"not there":        {answer(404), nil, fs.ErrNotExist, "404 Not Found"},
		"gone":             {answer(410), nil, fs.ErrNotExist, "410 Gone"},
		"not for us":       {answer(403), nil, fs.ErrPermission, "403 Forbidden"},
		"a teapot":         {answer(418), nil, nil, "418"},
		"always busy":      {answer(503), nil, nil, "503 Service Unavailable"},
		"wrong digest":     {nil, func(s *Source) { s.SHA256 = strings.Repeat("0", 64) }, nil, digest(data)},
		"no digest":        {nil, func(s *Source) { s.SHA256 = "0123" }, nil, "want 64 hex digits"},
		"bad name":         {nil, func(s *Source) { s.Name = "../x" }, nil, `image name "../x"`},
		"built-in name":    {nil, func(s *Source) { s.Name = configs.ImageProbe }, nil, "built-in"},
		"not of its kind":  {nil, func(s *Source) { s.Format = configs.FormatQCOW2 }, nil, "is not a qcow2 image"},
		"no server":        {nil, func(s *Source) { s.URL = "http://user:secret@127.0.0.1:1/x" }, nil, "http://user:xxxxx@127.0.0.1:1/x: "},
		"no file":          {nil, func(s *Source) { s.URL = "/no/such" }, fs.ErrNotExist, "/no/such"},
		"a folder":         {nil, func(s *Source) { s.URL = "file:///" }, nil, "is no file"},
		"server says less": {func(_ int, w http.ResponseWriter) bool { _, _ = w.Write(data[:100]); return true }, nil, nil, "(of 100 bytes)"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFileServer(t, data)
			s.meddle = c.meddle
			cache, from := Open(t.TempDir()), s.source()
			if c.change != nil {
				c.change(&from)
			}
			_, err := quickPull(t.Context(), cache, from)
			if err == nil || !strings.Contains(err.Error(), c.says) || c.is != nil && !errors.Is(err, c.is) {
				t.Fatalf("got %v, want %q", err, c.says)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("%v tells a password", err)
			}
			wantNotPulled(t, cache, "base")
			if d, ok := errors.AsType[*DigestError](err); ok {
				if d.Want == d.Have || !strings.Contains(err.Error(), d.Want) {
					t.Errorf("%v: want both digests", err)
				}
				if left, _ := filepath.Glob(filepath.Join(cache.dir, diskKind, ".base.part*")); len(left) > 0 {
					t.Errorf("left over: %v", left)
				}
			}
		})
	}
}

// TestPullStalls is for a server that goes silent and keeps the line.
func TestPullStalls(t *testing.T) {
	data := sampleDisk(1 << 20)
	s := newFileServer(t, data)
	release := make(chan struct{})
	s.meddle = func(n int, w http.ResponseWriter) bool {
		if n == 1 {
			w.Header().Set("ETag", s.etag)
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			_, _ = w.Write(data[:1000])
			_ = http.NewResponseController(w).Flush()
			<-release
		}
		return n == 1
	}
	defer close(release)
	cache := Open(t.TempDir())
	cache.patience = patience{pause: time.Millisecond, stall: 200 * time.Millisecond}
	if _, err := cache.Pull(t.Context(), s.source()); err != nil {
		t.Fatal(err)
	}
	wantPulled(t, cache, "base", data)
}

func TestPullBounds(t *testing.T) {
	s := newFileServer(t, sampleDisk(10000))
	for _, ranges := range []bool{true, false} { // with and without a length in the answer
		s.ranges = ranges
		d := download{source: s.source(), part: filepath.Join(t.TempDir(), "part"), most: 9999, patience: patience{time.Millisecond, time.Second}, say: func(string, ...any) {}}
		if err := d.run(t.Context()); err == nil || !strings.Contains(err.Error(), "9999") {
			t.Errorf("got %v, want it to be too large", err)
		}
	}
}

func TestPullOfAFile(t *testing.T) {
	data := sampleDisk(1 << 20)
	path := filepath.Join(t.TempDir(), "-a,b=c \"q'\nü.raw")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	cache := Open(t.TempDir())
	from := Source{Name: "base", URL: path, SHA256: strings.ToUpper(digest(data)), Format: configs.FormatRaw}
	if _, err := cache.Pull(t.Context(), from); err != nil {
		t.Fatal(err)
	}
	wantPulled(t, cache, "base", data)
	from.SHA256 = strings.Repeat("1", 64)
	if _, err := cache.Pull(t.Context(), from); !errors.Is(err, fs.ErrExist) {
		t.Errorf("another image of that name: %v", err)
	}
	if _, err := cache.Choose(t.Context(), "base", "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("choose: %v", err)
	}
	chosen, err := cache.Choose(t.Context(), "base")
	if err == nil {
		err = cache.Remove(t.Context(), chosen...)
	}
	if err != nil {
		t.Fatal(err)
	}
	wantNotPulled(t, cache, "base")
	if err := cache.Remove(t.Context(), chosen...); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

func TestNameOf(t *testing.T) {
	for where, want := range map[string]string{
		"https://images.example.org/a/Debian-13-amd64.qcow2?x=y": "debian-13-amd64", "/x/base.img": "base", "file:///y.raw": "y", "/a b": "a b", "/": "/",
	} {
		if got := NameOf(where); got != want {
			t.Errorf("%s: got %q, want %q", where, got, want)
		}
	}
}
