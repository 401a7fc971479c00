package guest

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"
)

// A packer writes trees into an archive.
type packer struct {
	*tar.Writer
	// apart is asked about each file with holes. What it takes is empty in the archive
	// and can be written by its owner.
	apart func(sparseFile) bool
}

// pack writes the tree at from, which may be a single file, under name. Links
// stay links. Owners are left out: the guest's users are others.
//
// The format is GNU's, the one that busybox's tar knows long names in. It fails
// for what can't be in an archive, a socket for instance.
func (p packer) pack(from, name string) error {
	return filepath.WalkDir(from, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(from, file)
		if err != nil {
			return err
		}
		return p.packOne(file, path.Join(name, filepath.ToSlash(below)), d)
	})
}

func (p packer) packOne(file, name string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(file); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	h.Name, h.Format = name, tar.FormatGNU
	if info.IsDir() {
		h.Name += "/"
	}
	h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "", ""
	h.ModTime, h.AccessTime, h.ChangeTime = info.ModTime().Truncate(time.Second), time.Time{}, time.Time{}
	if !info.Mode().IsRegular() {
		return p.WriteHeader(h)
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if data, sparse := lookSparse(f, info); sparse && p.apart(sparseFile{file, name, info, data}) {
		h.Size, h.Mode = 0, h.Mode|0o200
		return p.WriteHeader(h)
	}
	if err := p.WriteHeader(h); err != nil {
		return err
	}
	if n, err := io.CopyN(p, io.NewSectionReader(f, 0, h.Size), h.Size); err != nil {
		return fmt.Errorf("%s: read %d of %d bytes: %w", file, n, h.Size, err) // it became shorter
	}
	return nil
}
