package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/vmlaunch/vmlaunch/configs"
)

// qemuImg is a run of the program that makes and changes disk images.
func qemuImg(need string, args ...string) tool {
	return tool{args: append([]string{"qemu-img"}, args...), need: need, hint: "try: apt-get install qemu-utils"}
}

// CheckTools fails with a [*MissingError] on a machine that can't make disk
// images.
func CheckTools() error {
	return need("make disk images", "try: apt-get install qemu-utils", "qemu-img")
}

// CreateOverlay makes a qcow2 image at path that shows what base does and takes
// what is written. It has sizeBytes, which may not be less than base's; 0 is as
// many. A file that is there is kept as it is. It fails with a [*MissingError] without
// qemu-img, and with a [*DiskError] for a smaller size; nothing is there then.
func CreateOverlay(ctx context.Context, path string, base Disk, sizeBytes int64) error {
	if err := base.CheckSize(sizeBytes); err != nil {
		return err
	}
	size := []string{}
	if sizeBytes != 0 {
		size = append(size, fmt.Sprint(sizeBytes))
	}
	return createImage(ctx, path, func(tmp string) []string {
		return append([]string{"create", "-q", "-f", configs.FormatQCOW2, "-F", base.Format, "-b", base.Path, tmp}, size...)
	})
}

// CreateNVRAM makes a qcow2 image at path with the content of a firmware's
// variables. It keeps and fails as [CreateOverlay] does.
func CreateNVRAM(ctx context.Context, path string, vars FlashFile) error {
	return createImage(ctx, path, func(tmp string) []string {
		return []string{"convert", "-f", vars.Format, "-O", configs.FormatQCOW2, vars.Path, tmp}
	})
}

// createImage makes path in one step, by a run of qemu-img that makes tmp.
func createImage(ctx context.Context, path string, args func(tmp string) []string) (err error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	tmp := path + ".tmp" // what a killed run left there is written over
	defer func() {
		if err != nil {
			err = errors.Join(err, removeAny(tmp))
		}
	}()
	if _, err := qemuImg("make disk images", args(tmp)...).run(ctx); err != nil {
		return fmt.Errorf("make %q: %w", path, err)
	}
	return os.Rename(tmp, path)
}

// CheckSize fails with a [*DiskError] if sizeBytes is less than what d has: the end
// of it would be cut off.
func (d Disk) CheckSize(sizeBytes int64) error {
	if sizeBytes == 0 || sizeBytes >= d.SizeBytes {
		return nil
	}
	const mib = 1 << 20
	return &DiskError{d.Path, fmt.Sprintf("has %d MiB, which can't be made %d MiB", (d.SizeBytes+mib-1)/mib, sizeBytes/mib), "disks only grow"}
}

func removeAny(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
