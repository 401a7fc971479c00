package guest

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// unpack makes in dir what the archive r holds, and calls its first name, the top
// of the tree, name. It leaves dir for nothing: not by "..", not by a link, whatever
// the archive says. What was there under the same names is replaced, folders
// aside.
//
// Set-user-ID bits and owners are not taken from a guest, and a device or a pipe is
// refused. It fails with the first that can't be made; what was made stays.
func unpack(r *tar.Reader, dir *os.Root, name string) error {
	var folders []*tar.Header // their modes and times are set when they are full
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return finishFolders(dir, folders)
		}
		if err != nil {
			return fmt.Errorf("archive: %w", err)
		}
		if h.Name, err = inside(h.Name, name); err != nil {
			return err
		}
		if err := unpackOne(r, dir, h, name); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
		if h.Typeflag == tar.TypeDir {
			folders = append(folders, h)
		}
	}
}

// inside returns an archive's name with its first part replaced by top. It fails
// with [fs.ErrInvalid] for a name that leads elsewhere.
func inside(archived, top string) (string, error) {
	clean := path.Clean(strings.TrimLeft(archived, "/"))
	_, below, _ := strings.Cut(clean, "/")
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return "", fmt.Errorf("%q: %w: it leads out of the folder", archived, fs.ErrInvalid)
	}
	return path.Join(top, below), nil
}

func unpackOne(r io.Reader, dir *os.Root, h *tar.Header, top string) error {
	if h.Typeflag == tar.TypeDir {
		err := dir.Mkdir(h.Name, 0o700)
		if info, serr := dir.Lstat(h.Name); serr == nil && info.IsDir() {
			return nil
		}
		return err
	}
	// Not followed, not written into: it may be a link, or somebody's open file.
	if err := dir.Remove(h.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		return unpackFile(r, dir, h)
	case tar.TypeSymlink:
		return dir.Symlink(h.Linkname, h.Name)
	case tar.TypeLink:
		to, err := inside(h.Linkname, top)
		if err != nil {
			return err
		}
		return dir.Link(to, h.Name)
	}
	return fmt.Errorf("%w: neither file, folder nor link", fs.ErrInvalid)
}

func unpackFile(r io.Reader, dir *os.Root, h *tar.Header) error {
	f, err := dir.OpenFile(h.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = copyWithHoles(f, r)
	err = errors.Join(err, f.Chmod(h.FileInfo().Mode().Perm()), f.Close())
	if err != nil {
		return err
	}
	return dir.Chtimes(h.Name, h.ModTime, h.ModTime)
}

// holeSize is the block that is left out of a file where it is all zeros: what
// file systems allocate.
const holeSize = 4096

// copyWithHoles copies r to f, an empty file, and leaves holes for zeros.
func copyWithHoles(f *os.File, r io.Reader) error {
	block, zeros := make([]byte, 64*holeSize), make([]byte, holeSize)
	size := int64(0)
	for {
		n, err := io.ReadFull(r, block)
		for part := range slices.Chunk(block[:n], holeSize) {
			if !bytes.Equal(part, zeros[:len(part)]) {
				if _, err := f.WriteAt(part, size); err != nil {
					return err
				}
			}
			size += int64(len(part))
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && n < len(block) {
			return f.Truncate(size)
		}
		if err != nil {
			return err
		}
	}
}

// finishFolders sets modes and times from the innermost folder outwards.
func finishFolders(dir *os.Root, folders []*tar.Header) error {
	for _, h := range slices.Backward(folders) {
		if err := dir.Chmod(h.Name, h.FileInfo().Mode().Perm()); err != nil {
			return err
		}
		if err := dir.Chtimes(h.Name, h.ModTime, h.ModTime); err != nil {
			return err
		}
	}
	return nil
}
