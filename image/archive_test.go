package image

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vmlaunch/vmlaunch/internal/agentconfig"
)

// A cpioEntry is one entry as a reader sees it.
type cpioEntry struct {
	Name    string
	Mode    uint32
	Content string
	Major   uint32
	Minor   uint32
}

// readCPIO reads archives that stand one after the other, as the kernel does
// (init/initramfs.c): entries up to a trailer, zero bytes between archives.
func readCPIO(t *testing.T, b []byte) []cpioEntry {
	t.Helper()
	var all []cpioEntry
	for at := 0; at < len(b); {
		if b[at] == 0 {
			at++
			continue
		}
		if at%4 != 0 {
			t.Fatalf("header at %d: want it at a multiple of 4", at)
		}
		if len(b) < at+110 || string(b[at:at+6]) != "070701" {
			t.Fatalf("at %d: no newc header: %q", at, b[at:min(len(b), at+20)])
		}
		field := func(n int) int {
			v, err := strconv.ParseUint(string(b[at+6+8*n:at+14+8*n]), 16, 32)
			if err != nil {
				t.Fatalf("at %d, field %d: %v", at, n, err)
			}
			return int(v)
		}
		nameAt, nameLen, size := at+110, field(11), field(6)
		dataAt := (nameAt + nameLen + 3) &^ 3
		name := string(b[nameAt : nameAt+nameLen-1])
		if name != "TRAILER!!!" {
			all = append(all, cpioEntry{name, uint32(field(1)), string(b[dataAt : dataAt+size]), uint32(field(9)), uint32(field(10))})
		}
		at = (dataAt + size + 3) &^ 3
	}
	return all
}

func fillSample(a *Archive) {
	a.Dir("tmp", 0o1777)
	a.File("/usr/bin/tool", 0o755, []byte("tool"))
	a.Link("bin", "usr/bin")
	a.Device("dev/console", 0o600, [2]uint32{5, 1})
	a.Dir("usr", 0o700) // there already: stays as it is
}

func TestArchiveReadsBack(t *testing.T) {
	var b bytes.Buffer
	a := NewArchive(&b)
	fillSample(a)
	if !a.Has("usr/bin") || !a.Has("/usr/bin/tool") || a.Has("usr/lib") {
		t.Error("Has does not tell what is there")
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	want := []cpioEntry{
		{"tmp", 0o041777, "", 0, 0},
		{"usr", 0o040755, "", 0, 0},
		{"usr/bin", 0o040755, "", 0, 0},
		{"usr/bin/tool", 0o100755, "tool", 0, 0},
		{"bin", 0o120777, "usr/bin", 0, 0},
		{"dev", 0o040755, "", 0, 0},
		{"dev/console", 0o020600, "", 5, 1},
	}
	if diff := cmp.Diff(want, readCPIO(t, b.Bytes())); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestArchiveIsTheSameTwice(t *testing.T) {
	var b [2]bytes.Buffer
	for i := range b {
		a := NewArchive(&b[i])
		fillSample(a)
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(b[0].Bytes(), b[1].Bytes()) {
		t.Error("two archives of the same differ")
	}
}

func TestArchiveFailureSticks(t *testing.T) {
	tests := map[string]func(*Archive){
		"file twice":   func(a *Archive) { a.File("a", 0o644, nil); a.File("/a", 0o644, nil) },
		"missing file": func(a *Archive) { a.Copy("a", 0o644, "/no/such/file"); a.File("b", 0o644, nil) },
		"missing tree": func(a *Archive) { a.Tree("a", "/no/such/folder") },
		"file kernel":  func(a *Archive) { a.CachedKernel("/cache", Kernel{Ref: "/x/vmlinux", Path: "/x/vmlinux"}) },
	}
	for name, fill := range tests {
		t.Run(name, func(t *testing.T) {
			a := NewArchive(&bytes.Buffer{})
			fill(a)
			if err := a.Close(); err == nil {
				t.Error("Close returned nil, want the failure")
			}
		})
	}
	a := NewArchive(brokenWriter{})
	a.File("big", 0o644, make([]byte, 2<<20))
	if err := a.Close(); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("got %v, want the writer's error", err)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, fmt.Errorf("disk full") }

func TestArchiveTree(t *testing.T) {
	var b bytes.Buffer
	a := NewArchive(&b)
	a.Tree("/cache/kernel/k", tree(t, map[string]string{"kernel.json": "{}", "modules/kernel/x.ko": "x"}))
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range readCPIO(t, b.Bytes()) {
		names = append(names, e.Name)
	}
	want := []string{"cache", "cache/kernel", "cache/kernel/k", "cache/kernel/k/kernel.json", "cache/kernel/k/modules", "cache/kernel/k/modules/kernel", "cache/kernel/k/modules/kernel/x.ko"}
	if !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
}

// TestMachineInitrdFollowsTheBase reads both archives as the kernel does, and
// asks that only root can read the machine's keys.
func TestMachineInitrdFollowsTheBase(t *testing.T) {
	c := Open(t.TempDir())
	base, err := c.Initrd(t.Context(), "k", func(a *Archive) error { a.Base([]byte("agent")); return nil })
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	cfg := agentconfig.Config{Role: agentconfig.Guest, Listen: []string{"vsock:22"}, HostKey: "key", AuthorizedKeys: []string{"a"}}
	if err := c.MachineInitrd(&b, base, cfg); err != nil {
		t.Fatal(err)
	}
	all := readCPIO(t, b.Bytes())
	last := all[len(all)-1]
	if last.Name != strings.TrimPrefix(agentconfig.Path, "/") || last.Mode != 0o100600 || !strings.Contains(last.Content, `"vsock:22"`) {
		t.Errorf("last entry: got %+v, want the configuration with mode 0600", last)
	}
	i := slices.IndexFunc(all, func(e cpioEntry) bool { return e.Name == "init" })
	if i < 0 || all[i].Mode != 0o100755 || all[i].Content != "agent" {
		t.Errorf("init: not there, or not the agent: %v", all)
	}
	if err := c.MachineInitrd(&b, base, agentconfig.Config{}); err == nil {
		t.Error("a configuration that the agent would refuse was written")
	}
	if err := c.MachineInitrd(&b, filepath.Join(t.TempDir(), "gone"), cfg); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no base: got %v, want %v", err, fs.ErrNotExist)
	}
}
