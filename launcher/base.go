package launcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/vmlaunch/vmlaunch/image"
)

// checkBase fails with an [*image.DiskError] if the image below a machine's disk is
// not what it was when that was made over it: the two together would be neither. For a
// disk that is still to be made it takes down what the image is like.
func (f folder) checkBase(base image.Disk) error {
	now, err := base.Stamps()
	if err != nil {
		return err
	}
	if _, err := os.Lstat(f.overlay(false)); errors.Is(err, fs.ErrNotExist) {
		return writeWhole(f.base(), text(now))
	}
	known, err := os.ReadFile(f.base())
	if err != nil {
		return fmt.Errorf("read what the image below %q was: %w", f.overlay(false), bare(err))
	}
	var then []image.Stamp
	if err := json.Unmarshal(known, &then); err != nil {
		return fmt.Errorf("read %q: %w", f.base(), err)
	}
	for i, s := range now {
		if i >= len(then) || !slices.Contains(then, s) {
			return &image.DiskError{
				Path: s.Path, Why: "has changed since the machine's disk was made over it",
				Hint: "vmlaunch down makes that disk anew, or put the image back as it was, with its time",
			}
		}
	}
	return nil
}
