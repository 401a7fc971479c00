package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// An Entry is one thing in the cache. All of them but disk images can be removed at
// any time: they are made again when they are wanted.
type Entry struct {
	Kind    string    `json:"kind"` // kernel, initrd, probe, vmlinux, disk
	Name    string    `json:"name"`
	Ref     string    `json:"ref,omitempty"`     // by which a kernel or disk can be asked for
	Version string    `json:"version,omitempty"` // of a kernel
	Path    string    `json:"path"`
	Bytes   int64     `json:"bytes"` // on disk, with all that is in it
	Made    time.Time `json:"made"`
}

// kinds are the folders of the cache whose entries are listed.
func kinds() []string { return []string{kernelKind, "vmlinux", "initrd", "probe", diskKind} }

// List returns what the cache holds, by kind and name. An empty cache, or none,
// is no failure.
func (c *Cache) List(ctx context.Context) ([]Entry, error) {
	all := []Entry{}
	for _, kind := range kinds() {
		names, err := c.entries(kind)
		if err != nil {
			return nil, fmt.Errorf("list cache: %w", err)
		}
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return nil, fmt.Errorf("list cache: %w", err)
			}
			e, err := c.describe(kind, name)
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed meanwhile
			}
			if err != nil {
				return nil, fmt.Errorf("list cache: %w", err)
			}
			all = append(all, e)
		}
	}
	return all, nil
}

func (c *Cache) describe(kind, name string) (Entry, error) {
	e := Entry{Kind: kind, Name: name, Path: filepath.Join(c.dir, kind, name)}
	st, err := os.Stat(e.Path)
	if err != nil {
		return Entry{}, err
	}
	e.Made = st.ModTime()
	err = filepath.WalkDir(e.Path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		st, err := d.Info()
		if err == nil {
			e.Bytes += st.Size()
		}
		return err
	})
	switch {
	case err != nil:
	case kind == kernelKind:
		var k kernelEntry
		k, err = c.readKernelEntry(name)
		e.Ref, e.Version = k.Ref, k.Version
	case kind == diskKind:
		e.Ref = name
	}
	return e, err
}

// The references that Build knows besides those of kernels.
const (
	refLinux = "linux"
	refProbe = "probe"
)

// Build makes what ref names, and returns it as List does: "probe" and "linux"
// are the built-in guests, anything else is a kernel as for [Cache.Kernel].
// Unlike there, "light" and "distro:VERSION" ask the distribution for the newest
// one even if the cache has an older one. It fails as Kernel and Linux do.
func (c *Cache) Build(ctx context.Context, ref string) (Entry, error) {
	path, err := c.build(ctx, ref)
	if err != nil {
		return Entry{}, fmt.Errorf("build %s: %w", ref, err)
	}
	all, err := c.List(ctx)
	if err != nil {
		return Entry{}, err
	}
	for _, e := range all {
		if path == e.Path || strings.HasPrefix(path, e.Path+"/") {
			return e, nil
		}
	}
	// A kernel that lies elsewhere and is booted as it is.
	return Entry{Kind: kernelKind, Name: filepath.Base(path), Ref: ref, Path: path}, nil
}

func (c *Cache) build(ctx context.Context, ref string) (path string, err error) {
	var k Kernel
	word, version, _ := strings.Cut(ref, ":")
	switch {
	case ref == refProbe:
		return c.Probe(ctx)
	case ref == refLinux:
		if k, err = c.Kernel(ctx, ""); err != nil {
			return "", err
		}
		b, err := c.Linux(ctx, k)
		return b.Initrd, err
	case ref == refLight:
		k, err = c.makeLight(ctx)
	case word == refDistro:
		if version == "" {
			version = DefaultVersion
		}
		k, err = c.fetchDistro(ctx, version)
	default:
		k, err = c.Kernel(ctx, ref)
	}
	return k.Path, err
}
