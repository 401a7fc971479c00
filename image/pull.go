package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/configs"
)

// diskKind is the part of the cache with pulled disk images. Unlike all else in
// there they can't be made again from what this host has, and machines may lie on
// top of them.
const diskKind = "disk"

// The files of an image's folder.
const (
	pulledDisk   = "disk"        // never written again
	pulledSource = "source.json" // where it is from
)

// A Source says where a disk image is from.
type Source struct {
	Name   string `json:"name"`   // by which it is known here
	URL    string `json:"url"`    // http or https, file, or an absolute path
	SHA256 string `json:"sha256"` // of all its bytes, in hex
	Format string `json:"format"` // what it has to be, raw or qcow2; "" is either
}

// A DigestError says that a file is not the one that was wanted. Nothing is kept
// of it.
type DigestError struct {
	URL        string
	Want, Have string // SHA-256, hex
	Bytes      int64
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("pull %s: its SHA-256 is %s (of %d bytes), want %s (nothing is kept of it: compare with what the publisher says)", e.URL, e.Have, e.Bytes, e.Want)
}

// imageName is the form of names of pulled images: they become file names, and
// have no slash, by which paths are told from them.
var imageName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// ValidImageName says what is wrong with s as the name of a pulled image; nil if
// nothing is.
func ValidImageName(s string) error {
	if s == configs.ImageLinux || s == configs.ImageProbe {
		return fmt.Errorf("image name %q: is that of a built-in guest", s)
	}
	if !imageName.MatchString(s) {
		return fmt.Errorf("image name %q: want 1 to 63 of a-z 0-9 . _ - and a letter or digit first", s)
	}
	return nil
}

// NameOf returns the name that a file at a URL or path gets unless told
// otherwise: its own, without what says its format. It may not be a valid one.
func NameOf(where string) string {
	if u, err := url.Parse(where); err == nil && u.Scheme != "" {
		where = u.Path
	}
	name := strings.ToLower(path.Base(where))
	for _, ext := range []string{".qcow2", ".img", ".raw"} {
		name = strings.TrimSuffix(name, ext)
	}
	return name
}

var sha256Hex = regexp.MustCompile(`^[0-9a-f]{64}$`)

// ValidDigest says what is wrong with s as a SHA-256 in hex, of either case; nil if
// nothing is.
func ValidDigest(s string) error {
	if !sha256Hex.MatchString(strings.ToLower(s)) {
		return fmt.Errorf("sha256 %q: want 64 hex digits", s)
	}
	return nil
}

// check returns s with its digest in lower case. It fails with what is wrong with it.
func (s Source) check() (Source, error) {
	err := errors.Join(ValidDigest(s.SHA256), ValidImageName(s.Name))
	s.SHA256 = strings.ToLower(s.SHA256)
	return s, err
}

// shown returns the URL as it may be shown and kept: without a password.
func (s Source) shown() string {
	if u, err := url.Parse(s.URL); err == nil {
		return u.Redacted()
	}
	return s.URL
}

// Pulled returns the path of the disk image called name. It fails with
// [fs.ErrNotExist] if it was not pulled.
func (c *Cache) Pulled(name string) (string, error) {
	p := filepath.Join(c.dir, diskKind, name, pulledDisk)
	if ValidImageName(name) != nil || !exists(p) {
		return "", fmt.Errorf("image %q: %w (vmlaunch image pull)", name, fs.ErrNotExist)
	}
	return p, nil
}

// Pull fetches a disk image into the cache and returns its entry. What an earlier
// pull had to leave is not fetched again, and with the image already there nothing is.
//
// It fails with [fs.ErrNotExist] and [fs.ErrPermission] if the server says so; with
// a [*DigestError]; with a [*DiskError] for what no machine can boot; with
// [fs.ErrExist] if another image has the name; and with ctx's error. Then nothing has
// the name that had not before; what was fetched of an unfinished image stays for
// the next try.
func (c *Cache) Pull(ctx context.Context, s Source) (Entry, error) {
	s, err := s.check()
	if err != nil {
		return Entry{}, err
	}
	folder := filepath.Join(c.dir, diskKind)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return Entry{}, err
	}
	unlock, err := lock(ctx, filepath.Join(folder, "."+s.Name+".lock"), func() {
		c.progress("waiting for another vmlaunch that pulls %s", s.Name)
	})
	if err != nil {
		return Entry{}, err
	}
	defer unlock()
	switch have, err := c.source(s.Name); {
	case err == nil && have.SHA256 == s.SHA256:
		return c.describe(diskKind, s.Name)
	case err == nil:
		return Entry{}, fmt.Errorf("pull %s: image %q: %w, with SHA-256 %s (vmlaunch image rm %s, or --name another)", s.shown(), s.Name, fs.ErrExist, have.SHA256, s.Name)
	case !errors.Is(err, fs.ErrNotExist):
		return Entry{}, err
	}
	d := download{source: s, part: filepath.Join(folder, "."+s.Name+".part"), most: maxPull, patience: c.patience, say: c.progress}
	if err := d.run(ctx); err != nil {
		return Entry{}, err
	}
	if err := c.admit(s, d.part); err != nil {
		return Entry{}, errors.Join(err, d.remove())
	}
	return c.describe(diskKind, s.Name)
}

// source reads where the image called name is from.
func (c *Cache) source(name string) (s Source, err error) {
	text, err := os.ReadFile(filepath.Join(c.dir, diskKind, name, pulledSource))
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	return s, err
}

// admit gives a file with the right digest its place, if it is a disk image that
// stands by itself.
func (c *Cache) admit(s Source, part string) error {
	d, err := OpenDisk(part, s.Format)
	if err == nil && d.Backing != nil {
		err = &DiskError{part, "needs another image below it", "qemu-img convert makes one image of both"}
	}
	if de, ok := errors.AsType[*DiskError](err); ok {
		de.Path = s.shown() // the file is gone when this is read
	}
	if err != nil {
		return err
	}
	tmp := filepath.Join(c.dir, diskKind, "."+s.Name+".new")
	s.URL, s.Format = s.shown(), d.Format
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(tmp), os.Mkdir(tmp, 0o755), os.WriteFile(filepath.Join(tmp, pulledSource), append(text, '\n'), 0o644),
		os.Chmod(part, 0o444), os.Rename(part, filepath.Join(tmp, pulledDisk)), flush(tmp),
		os.Rename(tmp, filepath.Join(c.dir, diskKind, s.Name)), removeAll(part+".json"))
}

// Choose returns the entries of the cache that refs name: by the name of an image, or
// by path. It fails with [fs.ErrNotExist] for those that are not there.
func (c *Cache) Choose(ctx context.Context, refs ...string) ([]Entry, error) {
	all, err := c.List(ctx)
	if err != nil {
		return nil, err
	}
	var chosen []Entry
	var errs []error
	for _, ref := range refs {
		e, ok := find(all, ref)
		if !ok {
			errs = append(errs, fmt.Errorf("cache entry %q: %w (vmlaunch image ls)", ref, fs.ErrNotExist))
		}
		chosen = append(chosen, e)
	}
	return chosen, errors.Join(errs...)
}

// Remove removes entries of the cache. Those that are gone are fine. It fails as
// removing files does, and with ctx's error while somebody makes one of them anew.
func (c *Cache) Remove(ctx context.Context, entries ...Entry) error {
	var errs []error
	for _, e := range entries {
		folder, name := filepath.Split(e.Path)
		unlock, err := lock(ctx, filepath.Join(folder, "."+name+".lock"), func() {
			c.progress("waiting for another vmlaunch that makes %s %s", e.Kind, name)
		})
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		// Without its name first: what is half removed must not be found.
		gone := filepath.Join(folder, "."+name+".gone")
		if err := removeAll(gone); err != nil {
			errs = append(errs, err)
		} else if err := os.Rename(e.Path, gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		errs = append(errs, removeAll(gone))
		unlock()
	}
	return errors.Join(errs...)
}

// find looks for an entry by its path, or that of the file in it, or by the name of
// an image.
func find(all []Entry, ref string) (Entry, bool) {
	for _, e := range all {
		if ref == e.Path || strings.HasPrefix(ref, e.Path+"/") || e.Kind == diskKind && ref == e.Name {
			return e, true
		}
	}
	return Entry{}, false
}

// removeAll removes paths, if they are there.
func removeAll(paths ...string) error {
	var errs []error
	for _, p := range paths {
		errs = append(errs, os.RemoveAll(p))
	}
	return errors.Join(errs...)
}

// sum returns the SHA-256 of a file, in hex.
func sum(ctx context.Context, f *os.File) (digest string, size int64, err error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", 0, err
	}
	h := sha256.New()
	size, err = io.Copy(h, readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return f.Read(p)
	}))
	return hex.EncodeToString(h.Sum(nil)), size, err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// isFull tells an error of a full disk: trying again would not help.
func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

const (
	// maxPull bounds a disk image: more is a wrong address.
	maxPull = 256 << 30

	// pullStall is how long nothing may come before a connection is given up: long
	// for any server that still sends.
	pullStall = time.Minute
	// pullPause is the time before another try.
	pullPause = 2 * time.Second
	// pullTries is how many tries in a row may bring nothing new.
	pullTries = 5
)
