package command

import (
	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/image"
)

func newImagePull(a *app) *cobra.Command {
	var s image.Source
	cmd := &cobra.Command{
		Use:   "pull URL",
		Short: "Fetch a disk image, for up --image NAME",
		Long: `Fetches the disk image at URL (http, https, file, or a path) and keeps it in the
cache under a NAME, if it has the SHA-256 that its publisher says; or what the
catalog has under NAME. What is there of it already is not fetched again, so a pull
that was broken off goes on where it stopped. Proxies are taken from the
environment.`,
		Example: `  vmlaunch image pull https://images.example.org/debian-13.qcow2 --sha256 9f86d081…
  vmlaunch up --image debian-13`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("image pull: want one URL, path, or NAME of the catalog, got %d words", len(args))
			}
			return nil
		},
		ValidArgsFunction: noCompletion,
		RunE: func(cmd *cobra.Command, args []string) error {
			s := s
			if err := a.source(&s, args[0]); err != nil {
				return err
			}
			cache, err := a.cache()
			if err != nil {
				return err
			}
			e, err := cache.Pull(cmd.Context(), s)
			if err != nil {
				return err
			}
			return a.print(imageReport([]image.Entry{e}))
		},
	}
	cmd.Flags().StringVar(&s.SHA256, "sha256", "", "what the image has to be: its SHA-256 in `HEX`")
	cmd.Flags().StringVar(&s.Name, "name", "", "keep it as `NAME` (default: the file's own name)")
	return cmd
}

// source fills in where an image is from: what is not said of a name is in the
// catalog. It fails with [ErrUsage], and for a name that nobody knows.
func (a *app) source(s *image.Source, what string) error {
	catalog, err := a.catalog()
	if err != nil {
		return err
	}
	if c, ok := catalog[what]; ok {
		if s.SHA256 != "" || s.Name != "" {
			return usagef("image pull %s: the catalog says its digest and its name", what)
		}
		*s = catalogSource(what, c)
		return nil
	}
	if configs.ValidName(what) == nil {
		return notInCatalog(what)
	}
	if s.URL, err = absoluteURL(what); err != nil {
		return err
	}
	if s.SHA256 == "" {
		return usagef("image pull %s: want --sha256 too (its publisher says it, often in a file SHA256SUMS)", what)
	}
	if s.Name == "" {
		s.Name = image.NameOf(s.URL)
	}
	if err := image.ValidImageName(s.Name); err != nil {
		return usagef("%w (choose one: --name)", err)
	}
	if err := image.ValidDigest(s.SHA256); err != nil {
		return &usageError{err}
	}
	return nil
}

// absoluteURL makes a path absolute and leaves a URL as it is. It fails with
// [ErrUsage] for URLs of other kinds.
func absoluteURL(text string) (string, error) {
	if configs.ValidImageURL(text) == nil {
		return text, nil
	}
	if hasScheme(text) {
		return "", &usageError{configs.ValidImageURL(text)}
	}
	abs, err := absolute("./" + text)
	if err == nil {
		err = configs.ValidImageURL(abs)
	}
	if err != nil {
		return "", &usageError{err}
	}
	return abs, nil
}
