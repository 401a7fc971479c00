package guest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Put copies files and folders of this host into the guest: into to, if that is a
// folder there, or else, a single one, as to. A path that is not absolute begins at
// the user's home. Modes, times and links are kept; the copies belong to the user.
// The guest needs tar and test, which busybox has, and SFTP for holes to be kept: they
// are filled without it.
//
// It fails with [fs.ErrNotExist] if a source or the folder is missing, and as
// [Client.Run] does. What was copied before a failure stays.
func (c *Client) Put(ctx context.Context, to string, sources ...string) error {
	for _, s := range sources {
		if _, err := os.Lstat(s); err != nil {
			return err
		}
	}
	isFolder, err := c.test(ctx, "-d", to)
	if err != nil {
		return err
	}
	folder, name, err := destination(to, isFolder, len(sources))
	if err != nil {
		return fmt.Errorf("in the guest: %w", err)
	}
	apart := newSparseFiles(func() (*fileService, error) { return c.files(ctx) })
	defer apart.close()
	archive, into := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := packAll(packer{tar.NewWriter(into), apart.add}, name, sources)
		_ = into.CloseWithError(err) // nil is the end of the archive
		packed <- err
	}()
	var said firstWords
	exit, err := c.Run(ctx, Command{Args: []string{"tar", "-xpf", "-", "-C", folder}, Stdin: archive, Stderr: &said})
	_ = archive.Close() // ends a packing that nobody reads any more
	if perr := <-packed; perr != nil && !errors.Is(perr, io.ErrClosedPipe) {
		return perr
	}
	if err := said.failure(exit, err); err != nil {
		return err
	}
	return apart.fill(folder)
}

// Get copies files and folders of the guest to this host: into to, if that is a
// folder, or else, a single one, as to. Nothing is written outside of to, whatever
// the guest sends; modes, times, links and holes are kept, set-user-ID bits and
// owners are not. The guest needs tar and test.
//
// It fails with [fs.ErrNotExist] if a source or the folder is missing, with
// [fs.ErrInvalid] for an archive that no copy would be, and as [Client.Run] does.
// What was copied before a failure stays.
func (c *Client) Get(ctx context.Context, to string, sources ...string) error {
	info, err := os.Stat(to)
	folder, name, err := destination(to, err == nil && info.IsDir(), len(sources))
	if err != nil {
		return err
	}
	dir, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, s := range sources {
		if err := c.get(ctx, dir, name, s); err != nil {
			return err
		}
	}
	return nil
}

// get copies one tree into dir, as name if that is not empty.
func (c *Client) get(ctx context.Context, dir *os.Root, name, source string) error {
	parent, base := path.Split(path.Clean(source))
	if base == "" || base == "." || base == ".." {
		return fmt.Errorf("guest's %s: %w (name a file or a folder)", source, fs.ErrInvalid)
	}
	if there, err := c.exists(ctx, source); err != nil || !there {
		if err == nil {
			err = fmt.Errorf("guest's %s: %w", source, fs.ErrNotExist)
		}
		return err
	}
	if name == "" {
		name = base
	}
	archive, into := io.Pipe()
	unpacked := make(chan error, 1)
	go func() {
		err := unpack(tar.NewReader(archive), dir, name)
		if err == nil {
			_, err = io.Copy(io.Discard, archive) // what fills its last block
		}
		_ = archive.CloseWithError(err) // ends a guest that goes on
		unpacked <- err
	}()
	var said firstWords
	args := []string{"tar", "-cf", "-", "-C", orHere(parent), "./" + base}
	exit, err := c.Run(ctx, Command{Args: args, Stdout: into, Stderr: &said})
	err = said.failure(exit, err)
	_ = into.CloseWithError(err) // nil is the end of the archive
	if uerr := <-unpacked; uerr != nil && (err == nil || !errors.Is(uerr, err)) {
		return uerr
	}
	return err
}

// destination returns the folder that copies go into and, if the only one is to
// have another name than its source, that name.
func destination(to string, isFolder bool, sources int) (folder, name string, err error) {
	if isFolder {
		return to, "", nil
	}
	if sources != 1 || to == "" || strings.HasSuffix(to, "/") {
		return "", "", fmt.Errorf("folder %q: %w", to, fs.ErrNotExist)
	}
	folder, name = path.Split(to)
	return orHere(folder), name, nil
}

// orHere returns folder, or what stands for the current one.
func orHere(folder string) string {
	if folder == "" {
		return "."
	}
	return folder
}

// packAll writes all sources, a single one under name if that is not empty, and ends
// the archive.
func packAll(p packer, name string, sources []string) error {
	for _, s := range sources {
		as := name
		if as == "" {
			abs, err := filepath.Abs(s) // "." has a name, too
			if err != nil {
				return err
			}
			as = filepath.Base(abs)
		}
		if err := p.pack(s, as); err != nil {
			return err
		}
	}
	return p.Close()
}

// exists reports whether there is something at file in the guest, a link that
// leads nowhere included.
func (c *Client) exists(ctx context.Context, file string) (bool, error) {
	there, err := c.test(ctx, "-e", file)
	if err != nil || there {
		return there, err
	}
	return c.test(ctx, "-L", file)
}

// test asks test(1) of the guest about a file.
func (c *Client) test(ctx context.Context, op, file string) (bool, error) {
	var said firstWords
	exit, err := c.Run(ctx, Command{Args: []string{"test", op, file}, Stderr: &said})
	if err == nil && exit == 1 {
		return false, nil
	}
	return true, said.failure(exit, err)
}

// firstWords keeps the beginning of what a program says on its standard error: what
// went wrong, before what followed from it.
type firstWords struct{ bytes.Buffer }

// maxWords bounds what is kept, in bytes.
const maxWords = 4096

func (w *firstWords) Write(p []byte) (int, error) {
	w.Buffer.Write(p[:min(len(p), maxWords-w.Len())])
	return len(p), nil
}

// failure returns err, or what an exit code other than 0 and the words before it
// mean.
func (w *firstWords) failure(exit int, err error) error {
	if err != nil || exit == 0 {
		return err
	}
	line, _, _ := strings.Cut(strings.TrimSpace(w.String()), "\n")
	return fmt.Errorf("the guest says: %s (exit code %d)", line, exit)
}
