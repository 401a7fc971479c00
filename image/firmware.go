package image

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/vmlaunch/vmlaunch/configs"
)

// A Firmware is a UEFI firmware in two flash devices.
type Firmware struct {
	Code FlashFile // what runs; never written
	Vars FlashFile // what a machine's variables are a copy of at first

	Descriptor string // path of the file that says so
}

// A FlashFile is the content of a flash device.
type FlashFile struct {
	Path   string `json:"filename"` // absolute
	Format string `json:"format"`   // configs.FormatRaw or FormatQCOW2
}

// maxDescriptor bounds a descriptor's size, in bytes. The largest of QEMU's own has 1.2 KiB.
const maxDescriptor = 1 << 20

// FindUEFI returns the first UEFI firmware for that board among the descriptors
// of this machine, of which a user's own come before the administrator's and
// those before the distribution's; see docs/interop/firmware.json in QEMU's
// source. One that needs SMM, keys of its own or no variables is not for us. It
// fails with a [*MissingError] if there is none.
func FindUEFI(board string) (Firmware, error) {
	dirs := []string{"/etc/qemu/firmware", "/usr/share/qemu/firmware"}
	if dir, err := os.UserConfigDir(); err == nil { // else there is no user
		dirs = slices.Insert(dirs, 0, filepath.Join(dir, "qemu/firmware"))
	}
	f, broken := findUEFI(dirs, board)
	if f != (Firmware{}) {
		return f, nil
	}
	missing := &MissingError{What: "UEFI firmware for board " + board, Need: "boot a disk by UEFI", Hint: "try: apt-get install ovmf"}
	return f, errors.Join(missing, broken)
}

// findUEFI looks into dirs, the first of which has the last word. Descriptors
// that can't be read are passed over, and told of if there is no other.
func findUEFI(dirs []string, board string) (f Firmware, broken error) {
	byName := map[string]string{}
	for _, dir := range slices.Backward(dirs) {
		entries, _ := os.ReadDir(dir) // there need not be one
		for _, e := range entries {
			if filepath.Ext(e.Name()) == ".json" {
				byName[e.Name()] = filepath.Join(dir, e.Name()) // masks one with this name in a folder of less weight
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		text, err := readDescriptor(byName[name])
		if len(text) == 0 && err == nil {
			continue // an empty file, or /dev/null, is there to mask
		}
		var d descriptor
		if err == nil {
			d, err = parseDescriptor(text)
		}
		if err != nil {
			broken = errors.Join(broken, fmt.Errorf("firmware descriptor %s: %w", byName[name], err))
			continue
		}
		if f, ok := d.uefi(board); ok && exists(f.Code.Path) && exists(f.Vars.Path) {
			f.Descriptor = byName[name]
			return f, nil
		}
	}
	return Firmware{}, broken
}

func readDescriptor(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, bare(err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() && st.Mode()&fs.ModeCharDevice == 0 {
		return nil, cmp.Or(err, errors.New("is no file"))
	}
	return io.ReadAll(io.LimitReader(f, maxDescriptor))
}

// A descriptor is what we need to know of a firmware; see Firmware in
// docs/interop/firmware.json of QEMU's source.
type descriptor struct {
	Interfaces []string `json:"interface-types"`
	Mapping    struct {
		Device     string    `json:"device"`
		Mode       string    `json:"mode"` // since QEMU 6.2; "" is "split"
		Executable FlashFile `json:"executable"`
		Template   FlashFile `json:"nvram-template"`
	} `json:"mapping"`
	Targets []struct {
		Architecture string   `json:"architecture"`
		Machines     []string `json:"machines"` // patterns of fnmatch(3)
	} `json:"targets"`
	Features []string `json:"features"`
}

// parseDescriptor reads a descriptor. It fails on what is not one.
func parseDescriptor(text []byte) (descriptor, error) {
	var d descriptor
	if err := json.Unmarshal(text, &d); err != nil {
		return descriptor{}, err
	}
	if len(d.Interfaces) == 0 || len(d.Targets) == 0 || d.Mapping.Device == "" {
		return descriptor{}, errors.New("lacks interface-types, targets or mapping")
	}
	return d, nil
}

// uefi returns the firmware that d describes, if it is one that we can give to a
// machine with that board.
func (d descriptor) uefi(board string) (Firmware, bool) {
	if !slices.Contains(d.Interfaces, "uefi") || !d.fits(board) ||
		slices.Contains(d.Features, "requires-smm") || slices.Contains(d.Features, "enrolled-keys") {
		return Firmware{}, false
	}
	m := d.Mapping
	if m.Device != "flash" || m.Mode != "" && m.Mode != "split" {
		return Firmware{}, false
	}
	for _, f := range []FlashFile{m.Executable, m.Template} {
		if !filepath.IsAbs(f.Path) || f.Format != configs.FormatRaw && f.Format != configs.FormatQCOW2 {
			return Firmware{}, false
		}
	}
	return Firmware{Code: m.Executable, Vars: m.Template}, true
}

// fits reports whether the firmware is one for that board. A descriptor speaks of
// boards by their versions, of which any will do.
func (d descriptor) fits(board string) bool {
	versioned := map[string]string{configs.BoardPC: "pc-i440fx-1.0", configs.BoardQ35: "pc-q35-1.0"}[board]
	for _, t := range d.Targets {
		if t.Architecture != "x86_64" {
			continue
		}
		for _, pattern := range t.Machines {
			if ok, err := path.Match(pattern, versioned); err == nil && ok {
				return true
			}
		}
	}
	return false
}
