package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/image"
	"github.com/vmlaunch/vmlaunch/launcher"
)

func newImageRm(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "rm NAME…",
		Short: "Remove disk images, or anything else from the cache",
		Long: `Removes a pulled disk image by its NAME, or any entry of the cache by the PATH that
image ls shows. What was built is built again when it is wanted. An image that
machines lie on is refused.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("image rm: which? (vmlaunch image ls)")
			}
			return nil
		},
		ValidArgsFunction: noCompletion,
		RunE: func(cmd *cobra.Command, refs []string) error {
			cache, err := a.cache()
			if err != nil {
				return err
			}
			l, err := a.launcher(cmd.Context())
			if err != nil {
				return err
			}
			chosen, err := cache.Choose(cmd.Context(), refs...)
			if err != nil {
				return err
			}
			if err := nobodyOn(cmd.Context(), l, chosen); err != nil {
				return err
			}
			if err := cache.Remove(cmd.Context(), chosen...); err != nil {
				return err
			}
			for _, e := range chosen {
				a.tell("%s removed", e.Path)
			}
			return nil
		},
	}
}

// nobodyOn fails with [fs.ErrExist] if a machine's disk lies on one of entries.
func nobodyOn(ctx context.Context, l *launcher.Launcher, entries []image.Entry) error {
	views, err := l.Machines(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		for _, v := range views {
			if strings.HasPrefix(v.Spec.Image, e.Path+"/") {
				errs = append(errs, fmt.Errorf("remove image %q: %w: the disk of machine %q lies on it (first: vmlaunch down %s)", e.Name, fs.ErrExist, v.Name, v.Name))
			}
		}
	}
	return errors.Join(errs...)
}
