package image

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// The file types of a cpio entry's mode, as in stat(2).
const (
	typeDir  = 0o040000
	typeChar = 0o020000
	typeFile = 0o100000
	typeLink = 0o120000
)

// An Archive writes an initramfs: a cpio archive of the "newc" form, see
// Documentation/driver-api/early-userspace/buffer-format.rst of Linux. The
// same calls give the same bytes: all is owned by root and from the epoch.
// Folders come by themselves, before what lies in them.
//
// The first failure sticks and is returned by [Archive.Close]. An Archive is
// not safe for concurrent use.
type Archive struct {
	w    *bufio.Writer
	n    int64 // bytes written
	ino  uint32
	seen map[string]bool
	err  error
}

// trailer is the name of the entry that ends an archive.
const trailer = "TRAILER!!!"

// NewArchive starts an archive on w, which stays the caller's to close.
func NewArchive(w io.Writer) *Archive {
	return &Archive{w: bufio.NewWriterSize(w, 1<<20), seen: map[string]bool{"": true}}
}

// Dir adds a folder with the given permissions.
func (a *Archive) Dir(name string, perm uint32) { a.entry(name, typeDir|perm, nil) }

// File adds a file.
func (a *Archive) File(name string, perm uint32, content []byte) {
	a.entry(name, typeFile|perm, content)
}

// Link adds a symbolic link.
func (a *Archive) Link(name, target string) { a.entry(name, typeLink|0o777, []byte(target)) }

// Device adds a character device.
func (a *Archive) Device(name string, perm uint32, number [2]uint32) {
	name = clean(name)
	a.parents(name)
	a.header(name, typeChar|perm, 0, number)
}

// Copy adds a file of this machine, with symbolic links followed.
func (a *Archive) Copy(name string, perm uint32, from string) {
	if a.err != nil {
		return
	}
	b, err := os.ReadFile(from)
	if err != nil {
		a.err = err
		return
	}
	a.File(name, perm, b)
}

// Tree adds what is in the folder from, files and folders, under name.
func (a *Archive) Tree(name, from string) {
	if a.err != nil {
		return
	}
	a.err = fs.WalkDir(os.DirFS(from), ".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			a.Dir(path.Join(name, file), 0o755)
		default:
			a.Copy(path.Join(name, file), 0o644, filepath.Join(from, file))
		}
		return a.err
	})
}

// Has reports whether name was added.
func (a *Archive) Has(name string) bool { return a.seen[clean(name)] }

// Close ends the archive and returns the first failure of any call.
func (a *Archive) Close() error {
	a.header(trailer, 0, 0, [2]uint32{})
	if a.err != nil {
		return fmt.Errorf("write archive: %w", a.err)
	}
	if err := a.w.Flush(); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	a.err = errors.New("archive is closed")
	return nil
}

func (a *Archive) entry(name string, mode uint32, content []byte) {
	name = clean(name)
	if a.seen[name] {
		if mode&typeDir == 0 && a.err == nil {
			a.err = fmt.Errorf("%s: is in the archive twice", name)
		}
		return
	}
	if bad := name == trailer || len(name) >= unix.PathMax || strings.ContainsRune(name, 0); bad && a.err == nil {
		a.err = fmt.Errorf("%.80q: %w as a name (the kernel would pass it over, or take it for another)", name, fs.ErrInvalid)
	}
	if len(content) > math.MaxUint32 && a.err == nil {
		a.err = fmt.Errorf("%s: %d bytes, want under 4 GiB", name, len(content))
	}
	a.parents(name)
	a.header(name, mode, len(content), [2]uint32{})
	a.write(content)
	a.pad(4)
}

// parents adds the folders above name that are not there yet.
func (a *Archive) parents(name string) {
	if up := clean(path.Dir(name)); !a.seen[up] {
		a.Dir(up, 0o755)
	}
}

// header writes an entry's 13 fields of eight hex digits, and its name, padded
// to where the content, or the next archive, may begin.
func (a *Archive) header(name string, mode uint32, size int, dev [2]uint32) {
	a.seen[name] = true
	links := 1
	if mode&typeLink == typeDir {
		links = 2
	}
	a.ino++
	fields := []any{a.ino, mode, 0, 0, links, 0, size, 0, 0, dev[0], dev[1], len(name) + 1, 0}
	a.write([]byte("070701" + fmt.Sprintf(strings.Repeat("%08x", len(fields)), fields...) + name + "\x00"))
	a.pad(4)
}

func (a *Archive) pad(to int64) {
	if rest := a.n % to; rest != 0 {
		a.write(make([]byte, to-rest))
	}
}

func (a *Archive) write(b []byte) {
	if a.err != nil {
		return
	}
	n, err := a.w.Write(b)
	a.n += int64(n)
	a.err = err
}

// clean returns a name as the archive has it: relative to the root.
func clean(name string) string {
	return strings.TrimPrefix(path.Clean("/"+name), "/")
}
