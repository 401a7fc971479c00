package guest

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// sparse makes a file of size bytes with text at some places, and holes elsewhere.
func sparse(t *testing.T, size int64, text map[int64]string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for at, s := range text {
		if _, err := f.WriteAt([]byte(s), at); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// TestExtents asks that all that was written is found, and, however large the blocks of
// this file system are, not much more.
func TestExtents(t *testing.T) {
	const mib = 1 << 20
	for name, tt := range map[string]struct {
		size int64
		text map[int64]string
	}{
		"empty":          {0, nil},
		"all hole":       {8 * mib, nil},
		"begins":         {8 * mib, map[int64]string{0: "x"}},
		"ends":           {8*mib + 3, map[int64]string{8*mib + 2: "x"}},
		"in the middle":  {8 * mib, map[int64]string{4*mib + 5: "x", 6 * mib: "y"}},
		"no hole at all": {3, map[int64]string{0: "abc"}},
	} {
		got, err := extents(sparse(t, tt.size, tt.text), tt.size)
		if err != nil {
			t.Fatal(err)
		}
		end, found := int64(-1), 0
		for _, e := range got {
			if e.at <= end || e.size <= 0 || e.size > mib || e.at+e.size > tt.size {
				t.Errorf("%s: %v", name, got)
			}
			end = e.at + e.size
			for at, s := range tt.text {
				if e.at <= at && at+int64(len(s)) <= end {
					found++
				}
			}
		}
		if found != len(tt.text) {
			t.Errorf("%s: %v holds %d of %d texts", name, got, found, len(tt.text))
		}
	}
}

// TestSparseFileApart asks that its place in the archive is an empty file that its owner
// can write.
func TestSparseFileApart(t *testing.T) {
	f := sparse(t, 1<<20, nil)
	if err := f.Chmod(0o444); err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := packAll(packer{tar.NewWriter(&archive), func(sparseFile) bool { return true }}, "copy", []string{f.Name()}); err != nil {
		t.Fatal(err)
	}
	if h, err := tar.NewReader(&archive).Next(); err != nil || h.Name != "copy" || h.Size != 0 || h.Mode != 0o644 {
		t.Errorf("%+v, %v", h, err)
	}
}

// TestSparseFileWithoutSFTP asks that such a file is in the archive as a whole.
func TestSparseFileWithoutSFTP(t *testing.T) {
	f := sparse(t, 1<<20, map[int64]string{1 << 19: "in the middle"})
	apart := newSparseFiles(func() (*fileService, error) { return nil, errRefused })
	defer apart.close()
	var archive bytes.Buffer
	if err := packAll(packer{tar.NewWriter(&archive), apart.add}, "copy", []string{f.Name()}); err != nil {
		t.Fatal(err)
	}
	if err := apart.fill("/no/such"); err != nil {
		t.Error(err)
	}
	root, to := openRoot(t)
	if err := unpack(tar.NewReader(&archive), root, "copy"); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(f.Name())
	got, gerr := os.ReadFile(filepath.Join(to, "copy"))
	if !bytes.Equal(got, want) || err != nil || gerr != nil {
		t.Errorf("%d bytes, %v, %v; want the same %d", len(got), gerr, err, len(want))
	}
}
