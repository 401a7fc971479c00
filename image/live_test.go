package image

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// systemState is what the system's package client keeps, with times.
func systemState(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, dir := range []string{"/var/lib/apt", "/var/cache/apt", "/etc/apt"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			st, err := d.Info()
			if err == nil {
				all = append(all, path+" "+st.ModTime().String())
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	return all
}

// TestFetchedKernel fetches a kernel from the distribution's real packages: tens
// of megabytes. It is complete, it comes without a trace in the system's
// package state, and the next one to ask gets it without network.
func TestFetchedKernel(t *testing.T) {
	testenv.Require(t, testenv.Nest) // promised where minutes and a mirror are there
	c := Open(t.TempDir())
	c.Progress = func(s string) { t.Log(s) }
	before := systemState(t)
	k, err := c.Kernel(t.Context(), "distro:7.3")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, systemState(t)); diff != "" {
		t.Errorf("the system's package state changed (-before +after):\n%s", diff)
	}
	if !strings.HasPrefix(k.Version, "7.3.") || k.Ref != "distro:"+k.Version {
		t.Errorf("got %+v", k)
	}
	if ok, err := bootsByPVH(k.Path); err != nil || !ok {
		t.Errorf("%s boots directly: %v, %v", k.Path, ok, err)
	}
	mods, err := OpenModules(k.Modules)
	if err != nil {
		t.Fatal(err)
	}
	order, err := mods.Order("virtio_pci", "vhost_vsock")
	names := moduleNames(order)
	if err != nil || slices.Index(names, "vsock") < 0 || slices.Index(names, "vsock") > slices.Index(names, "vhost_vsock") {
		t.Errorf("modules for vhost_vsock: got %q, %v", names, err)
	}
	if left := files(t, c, kernelKind); len(left) != 1 {
		t.Errorf("cache holds %q, want the kernel alone", left)
	}
	entry := filepath.Dir(k.Path)
	for _, name := range []string{"debs", "root"} {
		if exists(filepath.Join(entry, name)) {
			t.Errorf("%s was left in %s", name, entry)
		}
	}

	_, err = c.Kernel(t.Context(), "distro:7.99")
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "there are: ") || !strings.Contains(err.Error(), k.Version) {
		t.Errorf("no such version: got %v, want ErrNotExist and what there is", err)
	}
	t.Setenv("PATH", "") // no package client, no unpacker
	again, err := Open(c.Dir()).Kernel(t.Context(), "distro:7.3")
	if diff := cmp.Diff(k, again); err != nil || diff != "" {
		t.Errorf("from the cache: %v (-first +second):\n%s", err, diff)
	}
}
