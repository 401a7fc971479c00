package configs

import (
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// A Catalog names disk images that can be pulled.
type Catalog map[string]CatalogImage

// A CatalogImage is where a disk image is to be had, and what it needs.
type CatalogImage struct {
	URL       string // http or https, file, or an absolute path
	SHA256    string // 64 hex digits, lower case
	Format    string // raw or qcow2; "" for either
	User      string // whom the image has; "" is root
	MemoryMiB int    // the least that it boots in; 0 is not said
	Ready     string // how to find out that it is ready; "" as for any disk
}

// archX86 are the names of the only architecture that there is a machine for.
func archX86() []string { return []string{"x86_64", "amd64"} }

var sha256Hex = regexp.MustCompile(`^[0-9a-f]{64}$`)

// ParseCatalog reads the text of a catalog; name is for the errors. An empty file is
// fine. It fails with [FileErrors], all mistakes at once.
func ParseCatalog(name string, text []byte) (Catalog, error) {
	d := newDocument()
	c := Catalog{}
	d.mapping(d.load(name, text), "the catalog", func(key, value *yaml.Node) {
		if !d.known(key, "images") {
			return
		}
		d.mapping(value, "images", func(key, value *yaml.Node) {
			if err := ValidName(key.Value); err != nil || key.Value == ImageLinux || key.Value == ImageProbe {
				d.fail(key, "%q: want a name of 1 to 63 of a-z 0-9 . _ - and a letter or digit first, not linux or probe", key.Value)
			}
			c[key.Value] = d.catalogImage(key, value)
		})
	})
	if len(d.errs) > 0 {
		return nil, d.errs
	}
	return c, nil
}

// catalogImage reads one image; key is its name.
func (d *document) catalogImage(key, n *yaml.Node) CatalogImage {
	var c CatalogImage
	d.mapping(n, key.Value, func(key, value *yaml.Node) {
		if !d.known(key, "url", "sha256", "arch", "format", "user", "memory", "ready") {
			return
		}
		if value.Kind != yaml.ScalarNode || value.Value == "" {
			d.fail(value, "%s: want a value", key.Value)
			return
		}
		if err := c.set(key.Value, value.Value); err != nil {
			d.fail(value, "%v", err)
		}
	})
	if c.URL == "" || c.SHA256 == "" {
		d.fail(key, "%s: want a url and its sha256", key.Value)
	}
	return c
}

// set gives one field its value.
func (c *CatalogImage) set(key, value string) (err error) {
	var errs Errors
	switch key {
	case "url":
		c.URL = value
		return ValidImageURL(value)
	case "sha256":
		c.SHA256 = strings.ToLower(value)
		if !sha256Hex.MatchString(c.SHA256) {
			return &FieldError{key, value, "want 64 hex digits"}
		}
	case "arch":
		if !slices.Contains(archX86(), value) {
			return &FieldError{key, value, "want " + strings.Join(archX86(), " or ") + ": there are no machines of another"}
		}
	case "format":
		c.Format = value
		errs.oneOf(key, value, FormatRaw, FormatQCOW2)
	case "user":
		c.User = value
		if !userName.MatchString(value) {
			return &FieldError{key, value, "want 1 to 32 of a-z 0-9 _ - and a letter or _ first"}
		}
	case "memory":
		c.MemoryMiB, err = ParseMemory(value)
		return err
	case "ready":
		c.Ready = value
		errs.oneOf(key, value, ReadyNotify, ReadySSH, ReadyNone)
	}
	return errs.orNil()
}

// ValidImageURL says what is wrong with where an image is to be had; nil if
// nothing is. Anything without a scheme is a path, and has to be absolute.
func ValidImageURL(text string) error {
	if filepath.IsAbs(text) && !strings.ContainsRune(text, 0) {
		return nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
		return nil
	case u.Scheme == "file" && (u.Host == "" || u.Host == "localhost") && filepath.IsAbs(u.Path):
		return nil
	}
	return &FieldError{"url", text, "want http://…, https://…, file:///… or an absolute path"}
}

// Apply puts what the catalog says of an image into m, where m says nothing. It
// fails if m says less memory than the image boots in.
func (c CatalogImage) Apply(m *Machine) error {
	if m.MemoryMiB != 0 && m.MemoryMiB < c.MemoryMiB {
		return &FieldError{"memory", fmt.Sprintf("%dM", m.MemoryMiB), fmt.Sprintf("the image wants at least %dM", c.MemoryMiB)}
	}
	if c.MemoryMiB > defaultDiskMiB {
		set(&m.MemoryMiB, c.MemoryMiB)
	}
	if c.User != "" {
		set(&m.User, c.User)
	}
	if c.Ready != "" {
		set(&m.Ready, c.Ready)
	}
	return nil
}
