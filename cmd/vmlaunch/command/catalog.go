package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/image"
)

// catalog returns the images that the user's catalog names. There need not be one.
func (a *app) catalog() (configs.Catalog, error) {
	d, err := a.dirs()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(d.Catalog)
	if errors.Is(err, fs.ErrNotExist) {
		return configs.Catalog{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read catalog: %w", err)
	}
	return configs.ParseCatalog(d.Catalog, text)
}

func catalogSource(name string, c configs.CatalogImage) image.Source {
	return image.Source{Name: name, URL: c.URL, SHA256: c.SHA256, Format: c.Format}
}

func notInCatalog(name string) error {
	return fmt.Errorf("image %q: %w (there are linux, probe, what was pulled: vmlaunch image ls, what the catalog names: vmlaunch image ls --catalog, and paths, with a slash in them)", name, fs.ErrNotExist)
}

// pulled puts the path of a disk image that m has by name in the place of the name,
// and what the catalog says of it where m says nothing. An image of the catalog is
// pulled if it is not there. It fails with [fs.ErrNotExist] for a name that nobody
// knows, and as image.Cache.Pull does.
func (a *app) pulled(ctx context.Context, m configs.Machine) (configs.Machine, error) {
	if !hasName(m) {
		return m, nil
	}
	catalog, err := a.catalog()
	if err != nil {
		return m, err
	}
	if c, known := catalog[m.Image]; known {
		cache, err := a.cache()
		if err != nil {
			return m, err
		}
		if _, err := cache.Pull(ctx, catalogSource(m.Image, c)); err != nil {
			return m, err
		}
	}
	return a.known(m)
}

// hasName reports whether m's image is a disk image that is called by a name.
func hasName(m configs.Machine) bool {
	return m.Guest() == configs.GuestDisk && !strings.Contains(m.Image, "/")
}

// known is [app.pulled] for an image that has been pulled.
func (a *app) known(m configs.Machine) (configs.Machine, error) {
	if !hasName(m) {
		return m, nil
	}
	catalog, err := a.catalog()
	if err != nil {
		return m, err
	}
	cache, err := a.cache()
	if err != nil {
		return m, err
	}
	if c, known := catalog[m.Image]; known {
		if err := c.Apply(&m); err != nil {
			return m, &usageError{err}
		}
	}
	path, err := cache.Pulled(m.Image)
	if errors.Is(err, fs.ErrNotExist) {
		return m, notInCatalog(m.Image)
	}
	m.Image = path
	return m, err
}

// scheme is how a URL begins, and no path that anybody means.
var scheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)

func hasScheme(text string) bool { return scheme.MatchString(text) }

// catalogJSON is an image of the catalog as `image ls --catalog` prints it.
type catalogJSON struct {
	Name      string `json:"name"`
	URL       string `json:"url"`
	SHA256    string `json:"sha256"`
	Format    string `json:"format"` // "" is not said, as for those below
	User      string `json:"user"`
	MemoryMiB int    `json:"memory_mib"`
	Ready     string `json:"ready"`
	Pulled    bool   `json:"pulled"`
}

func (a *app) printCatalog(cache *image.Cache) error {
	catalog, err := a.catalog()
	if err != nil {
		return err
	}
	data := []catalogJSON{}
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(catalog)) {
		c := catalog[name]
		_, err := cache.Pulled(name)
		data = append(data, catalogJSON{name, c.URL, c.SHA256, c.Format, c.User, c.MemoryMiB, c.Ready, err == nil})
		memory := ""
		if c.MemoryMiB != 0 {
			memory = mib(c.MemoryMiB)
		}
		rows = append(rows, []string{name, yes(err == nil), c.Format, c.User, memory, c.URL})
	}
	return a.print(report{
		data: data, head: []string{"NAME", "PULLED", "FORMAT", "USER", "MEM", "URL"}, rows: rows,
		name: func(i int) string { return data[i].Name },
	})
}
