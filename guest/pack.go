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

// pack writes the tree at from, which may be a single file, to w under name. Links
// stay links. Owners are left out: the guest's users are others.
//
// The format is GNU's, the one that busybox's tar knows long names in. It fails
// for what can't be in an archive, a socket for instance.
func pack(w *tar.Writer, from, name string) error {
	return filepath.WalkDir(from, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(from, file)
		if err != nil {
			return err
		}
		return packOne(w, file, path.Join(name, filepath.ToSlash(below)), d)
	})
}

func packOne(w *tar.Writer, file, name string, d fs.DirEntry) error {
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
		return w.WriteHeader(h)
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	if n, err := io.CopyN(w, f, h.Size); err != nil {
		return fmt.Errorf("%s: read %d of %d bytes: %w", file, n, h.Size, err) // it became shorter
	}
	return nil
}
