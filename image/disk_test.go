package image

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// qemuImage makes an image with the real qemu-img.
func qemuImage(t *testing.T, args ...string) {
	t.Helper()
	testenv.Require(t, testenv.QEMUImg)
	if out, err := exec.CommandContext(t.Context(), "qemu-img", args...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %q: %v: %s", args, err, out)
	}
}

// oddDirs are folders whose names mean something to somebody on the way.
func oddDirs(t *testing.T) []string {
	t.Helper()
	top := t.TempDir()
	var dirs []string
	for _, name := range []string{"plain", "a,b=c", "with space", `"quoted'`, "-dash", "new\nline", "json:{}", "ümlaut", "%s$HOME\\n"} {
		dir := filepath.Join(top, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, dir)
	}
	return dirs
}

func TestOverlayOfARealImage(t *testing.T) {
	testenv.Require(t, testenv.QEMUImg)
	for _, dir := range oddDirs(t) {
		raw, qcow, over := dir+"/disk=1,2.raw", dir+"/base.qcow2", dir+"/over.qcow2"
		if err := os.WriteFile(raw, []byte(strings.Repeat("x", 3<<20+100)), 0o600); err != nil {
			t.Fatal(err)
		}
		qemuImage(t, "convert", "-f", "raw", "-O", "qcow2", raw, qcow)
		base, err := OpenDisk(raw, "")
		if want := (Disk{Path: raw, Format: "raw", SizeBytes: 3<<20 + 100}); err != nil || base != want {
			t.Errorf("got %+v, %v, want %+v", base, err, want)
		}
		if base, err = OpenDisk(qcow, ""); err != nil || base.Format != "qcow2" || base.SizeBytes != 3<<20+512 {
			t.Errorf("got %+v, %v, want a qcow2 of 3 MiB and a sector", base, err)
		}
		if err := CreateOverlay(t.Context(), over, base, 8<<20); err != nil {
			t.Fatal(err)
		}
		got, err := OpenDisk(over, "")
		if want := (Disk{Path: over, Format: "qcow2", SizeBytes: 8 << 20, Backing: &base}); err != nil || cmp.Diff(want, got) != "" {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
		// What is there is kept.
		before := readFile(t, over)
		if err := CreateOverlay(t.Context(), over, base, 0); err != nil || readFile(t, over) != before {
			t.Errorf("made once more: %v", err)
		}
	}
}

func TestOverlayOnlyGrows(t *testing.T) {
	base := Disk{Path: "/x", Format: "raw", SizeBytes: 2<<20 + 1}
	over := t.TempDir() + "/over"
	err := CreateOverlay(t.Context(), over, base, 2<<20)
	if e, ok := errors.AsType[*DiskError](err); !ok || !strings.Contains(err.Error(), "has 3 MiB, which can't be made 2 MiB") {
		t.Errorf("got %v, %v", e, err)
	}
	if _, err := os.Lstat(over); err == nil {
		t.Error("there is an overlay")
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// header returns a qcow2 header of version 3 over an image of that name and format.
func header(backing, format string) []byte {
	be := binary.BigEndian
	head := make([]byte, 112)
	copy(head, qcow2Magic)
	be.PutUint32(head[4:], 3)
	be.PutUint32(head[20:], 16)
	be.PutUint64(head[24:], 1<<20)
	be.PutUint32(head[100:], 112)
	if backing == "" {
		return head
	}
	if format != "" {
		head = be.AppendUint32(head, extFormat)
		head = be.AppendUint32(head, uint32(len(format)))
		head = append(head, format...)
		head = append(head, make([]byte, -len(format)&7)...)
	}
	head = append(head, make([]byte, 8)...) // the end of the extensions
	be.PutUint64(head[8:], uint64(len(head)))
	be.PutUint32(head[16:], uint32(len(backing)))
	return append(head, backing...)
}

// TestImagesThatWouldReadMore opens images as somebody else could have made them.
func TestImagesThatWouldReadMore(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	data := header("", "")
	binary.BigEndian.PutUint64(data[72:], bitDataFile)
	locked := header("", "")
	binary.BigEndian.PutUint32(locked[32:], 2)
	write("base.raw", make([]byte, 512))
	write("base.qcow2", header("", ""))
	write("loop", header("loop", "qcow2"))
	for _, c := range []struct {
		name, format string
		content      []byte
		want         string // "" for none
		is           error
	}{
		{"raw below in the same folder", "", header("base.raw", "raw"), "", nil},
		{"qcow2 below anywhere", "", header(dir+"/base.qcow2", "qcow2"), "", nil},
		{"raw below elsewhere", "", header("/etc/passwd", "raw"), `the raw image below it, "/etc/passwd", is in another folder`, nil},
		{"raw below, up and away", "", header("../x/secret", "raw"), "is in another folder", nil},
		{"qcow2 said of what is none", "", header("/etc/passwd", "qcow2"), `"/etc/passwd": is not a qcow2 image`, nil},
		{"no format said", "", header("base.raw", ""), `does not say that the image below it, "base.raw", is qcow2 or raw`, nil},
		{"another format said", "", header("base.raw", "vmdk"), "does not say", nil},
		{"a server below", "", header("nbd://example/x", "raw"), "want a file", nil},
		{"a block graph below", "", header(`json:{"driver":"file"}`, "raw"), "want a file", nil},
		{"nothing below", "", header("gone", "qcow2"), `below it: disk image "` + dir + `/gone": no such file`, fs.ErrNotExist},
		{"itself below", "", header("loop", "qcow2"), "more than 16 images", nil},
		{"a device below", "", header("/dev/zero", "raw"), "is in another folder", nil},
		{"data elsewhere", "", data, "keeps its data in another file", nil},
		{"encrypted", "", locked, "is encrypted", nil},
		{"cut off", "", data[:60], "is cut off", nil},
		{"empty", "", nil, "is empty", nil},
		{"VMDK", "", []byte("KDMV\x01\x00"), "is of the format VMDK, want qcow2 or raw", nil},
		{"compressed", "", []byte("\x1f\x8b\x08"), "unpack it", nil},
		{"not qcow2", "qcow2", make([]byte, 512), "is not a qcow2 image", nil},
		{"raw by order", "raw", header("/etc/passwd", "raw"), "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := write("image", c.content)
			d, err := OpenDisk(path, c.format)
			if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %+v, %v, want an error with %q", d, err, c.want)
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%v: want it to be %v", err, c.is)
			}
			if c.format == "raw" && d.Format != "raw" {
				t.Errorf("got %+v, want it raw", d)
			}
		})
	}
	if _, err := OpenDisk(dir, ""); err == nil {
		t.Error("a folder is an image")
	}
	if _, err := OpenDisk("/dev/zero", ""); err == nil {
		t.Error("a character device is an image")
	}
}

// FuzzQCOW2 asks that no header leads outside of what was read of it, and that
// an image whose header names none below it is opened with none.
func FuzzQCOW2(f *testing.F) {
	f.Add(header("", ""))
	f.Add(header("base.raw", "raw"))
	f.Fuzz(func(t *testing.T, head []byte) {
		q, err := parseQCOW2(head)
		if err != nil {
			return
		}
		if q.size < 0 || len(q.backing) > maxBacking || q.backing == "" && q.backingFormat != "" {
			t.Errorf("got %+v", q)
		}
		if at := binary.BigEndian.Uint64(head[8:]); (at == 0) != (q.backing == "") {
			t.Errorf("got %+v of a header that says %d", q, at)
		}
	})
}

// FuzzSnapshots reads what qemu-img could print.
func FuzzSnapshots(f *testing.F) {
	f.Add([]byte(`{"snapshots": [{"id": "1", "name": "one", "vm-state-size": 5, "date-sec": 1700000000, "date-nsec": 7}], "format": "qcow2"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := parseSnapshots(text)
		if err != nil && (len(all) > 0 || strings.ContainsAny(strings.SplitN(err.Error(), ":", 2)[0], "\n\x1b")) {
			t.Errorf("got %v, %q", all, err)
		}
	})
}
