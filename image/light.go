package image

import (
	"context"
	"path"
	"path/filepath"
)

// lightKernel stub.
func (c *Cache) lightKernel(ctx context.Context) (Kernel, error) {
	return Kernel{}, &MissingError{What: "light"}
}
func (c *Cache) cachedLight() (Kernel, bool, error) { return Kernel{}, false, nil }

// AddKernel adds k, which comes from a cache, to the cache that lies at dir in
// the archive. It can be asked for there with the same reference.
func AddKernel(a *Archive, dir string, k Kernel) {
	entry := filepath.Dir(k.Path)
	a.Tree(path.Join(dir, kernelKind, filepath.Base(entry)), entry)
}
