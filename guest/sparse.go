package guest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"
	"syscall"

	"github.com/pkg/sftp"
	"golang.org/x/sys/unix"
)

// A sparseFile is a file of this host that has holes.
type sparseFile struct {
	from string // here
	name string // in the archive
	info fs.FileInfo
	data []extent
}

// An extent is a part of a file, in bytes.
type extent struct{ at, size int64 }

// lookSparse reports whether f has holes, and where its data is. It moves f's offset.
// What the file system keeps small by other means, compressed say, has none.
func lookSparse(f *os.File, info fs.FileInfo) (data []extent, sparse bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Blocks*512 >= info.Size() || info.Size() < holeSize {
		return nil, false
	}
	data, err := extents(f, info.Size())
	if err != nil {
		return nil, false // a file system that can't tell
	}
	filled := int64(0)
	for _, e := range data {
		filled += e.size
	}
	return data, filled < info.Size()
}

// extents returns those parts of f's first size bytes that are no holes, in order. It
// moves f's offset, and fails with lseek's error.
func extents(f *os.File, size int64) (data []extent, err error) {
	for end := int64(0); end < size; {
		begin, err := f.Seek(end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || err == nil && begin >= size {
			return data, nil // nothing but a hole follows
		}
		if err != nil {
			return nil, err
		}
		if end, err = f.Seek(begin, unix.SEEK_HOLE); err != nil {
			return nil, err
		}
		data = append(data, extent{at: begin, size: min(end, size) - begin})
	}
	return data, nil
}

// sparseFiles are those that are empty in an archive, and filled by SFTP once it is
// unpacked: busybox's tar knows no holes, and the library none to write.
type sparseFiles struct {
	open func() (*fileService, error) // the same at each call
	list []sparseFile
}

// newSparseFiles asks c for SFTP when the first of them is met.
func newSparseFiles(open func() (*fileService, error)) *sparseFiles {
	return &sparseFiles{open: sync.OnceValues(open)}
}

// add takes f, unless the guest has no SFTP.
func (s *sparseFiles) add(f sparseFile) bool {
	if _, err := s.open(); err != nil {
		return false
	}
	s.list = append(s.list, f)
	return true
}

// fill writes the data of all, below folder in the guest, and closes the service. It
// fails with the first that can't be read or written.
func (s *sparseFiles) fill(folder string) error {
	if len(s.list) == 0 {
		return nil
	}
	service, err := s.open()
	if err != nil {
		return err
	}
	for _, f := range s.list {
		if err = service.fill(f, path.Join(folder, f.name)); err != nil {
			err = fmt.Errorf("%s: %w", f.from, err)
			break
		}
	}
	if cerr := service.close(); cerr != nil {
		return cerr // the cause of whatever else went wrong
	}
	return err
}

// close is for when they are not filled.
func (s *sparseFiles) close() {
	if len(s.list) > 0 {
		if service, err := s.open(); err == nil {
			_ = service.close() // the failure before it counts
		}
	}
}

// fillSize is how much is read at once, in bytes: some dozen of SFTP's packets, which
// are on their way together.
const fillSize = 1 << 20

// fill gives the empty file at to the size, the data, the mode and the time of f.
func (s *fileService) fill(f sparseFile, to string) error {
	from, err := os.Open(f.from)
	if err != nil {
		return err
	}
	defer from.Close()
	w, err := s.client.OpenFile(to, os.O_WRONLY)
	if err != nil {
		return err
	}
	err = f.write(w, from)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return s.client.Chtimes(to, f.info.ModTime(), f.info.ModTime())
}

// write does that but for the time, which writing changes. It writes at offsets: the
// ReadFrom of w (sftp v1.13.12) takes an io.EOF of the connection for that of its source.
func (f sparseFile) write(w *sftp.File, from io.ReaderAt) error {
	if err := w.Truncate(f.info.Size()); err != nil {
		return err
	}
	block := make([]byte, fillSize)
	for _, e := range f.data {
		n, err := io.CopyBuffer(io.NewOffsetWriter(w, e.at), io.NewSectionReader(from, e.at, e.size), block)
		if err != nil {
			return err
		}
		if n < e.size {
			return fmt.Errorf("read %d of %d bytes: %w", e.at+n, f.info.Size(), io.ErrUnexpectedEOF) // it became shorter
		}
	}
	return w.Chmod(f.info.Mode())
}
