package command

import (
	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/image"
	"github.com/vmlaunch/vmlaunch/nest"
)

func newImage(a *app) *cobra.Command {
	return group("image", "Disk images, built-in guests and kernels, and the cache they are kept in", newImageLs(a), newImagePull(a), newImageBuild(a), newImageRm(a))
}

func newImageLs(a *app) *cobra.Command {
	var fromCatalog bool
	cmd := &cobra.Command{
		Use:               "ls",
		Short:             "List what the cache holds, or what the catalog names",
		Args:              noArgs,
		ValidArgsFunction: noCompletion,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cache, err := a.cache()
			if err != nil {
				return err
			}
			if fromCatalog {
				return a.printCatalog(cache)
			}
			entries, err := cache.List(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(imageReport(entries))
		},
	}
	cmd.Flags().BoolVar(&fromCatalog, "catalog", false, "list the images that can be pulled by name (catalog.yaml, beside config.yaml)")
	return cmd
}

func newImageBuild(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "build REF…",
		Short: "Build or fetch guests and kernels now, for later starts to find",
		Long: `REF is linux or probe for a built-in guest, light for the small kernel that is
built from the distribution's source, distro:VERSION for the distribution's
package of that version, host for the kernel that runs here, or a path.
The newest that the distribution has is taken.`,
		ValidArgs: append([]string{"linux", "probe", "light", "host"}, distroRefs()...),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("image build: which? (linux, probe, light, host, distro:VERSION or a path)")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, refs []string) error {
			cache, err := a.cache()
			if err != nil {
				return err
			}
			var built []image.Entry
			for _, ref := range refs {
				abs, err := absolute(ref)
				if err != nil {
					return err
				}
				e, err := cache.Build(cmd.Context(), abs)
				if err != nil {
					return err
				}
				built = append(built, e)
			}
			return a.print(imageReport(built))
		},
	}
}

// distroRefs are the kernels of the distribution that are known to work.
func distroRefs() []string {
	var refs []string
	for _, version := range nest.Kernels() {
		refs = append(refs, "distro:"+version)
	}
	return refs
}

func imageReport(entries []image.Entry) report {
	if entries == nil {
		entries = []image.Entry{}
	}
	rows := make([][]string, len(entries))
	for i, e := range entries {
		rows[i] = []string{e.Kind, e.Ref, e.Version, units.BytesSize(float64(e.Bytes)), e.Path}
	}
	return report{
		data: entries,
		head: []string{"KIND", "REF", "VERSION", "SIZE", "PATH"},
		wide: 1,
		rows: rows,
		name: func(i int) string { return entries[i].Path },
	}
}
