package configs

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"
)

// The ways in which a folder of the host gets into a guest, as values of
// [Machine.MountType].
const (
	MountVirtiofs = "virtiofs" // served by a virtiofsd
	Mount9p       = "9p"       // served by QEMU itself
)

// maxMounts leaves slots of the board for other devices.
const maxMounts = 16

// A Mount is a folder of the host that a guest has among its own.
type Mount struct {
	Host     string `json:"host" yaml:"host"`   // absolute path of the folder on the host
	Guest    string `json:"guest" yaml:"guest"` // where it is in the guest: absolute and clean
	ReadOnly bool   `json:"read_only,omitempty" yaml:"read_only,omitempty"`
}

// ParseMount reads HOST:GUEST[:ro|:rw]. GUEST begins at the last colon with a
// slash behind it, so any HOST can be written, and needs no quoting. It returns a
// [*FieldError] for anything else. HOST may be relative.
func ParseMount(text string) (Mount, error) {
	folders, ro := strings.CutSuffix(text, ":ro")
	if !ro {
		folders = strings.TrimSuffix(text, ":rw")
	}
	i := strings.LastIndex(folders, ":/")
	if i < 1 {
		return Mount{}, &FieldError{"mount", text, "want HOST:GUEST or HOST:GUEST:ro, GUEST an absolute path"}
	}
	return Mount{Host: folders[:i], Guest: folders[i+1:], ReadOnly: ro}, nil
}

// String returns m in the form that [ParseMount] reads.
func (m Mount) String() string {
	s := m.Host + ":" + m.Guest
	if m.ReadOnly {
		return s + ":ro"
	}
	if strings.HasSuffix(m.Guest, ":ro") || strings.HasSuffix(m.Guest, ":rw") {
		return s + ":rw"
	}
	return s
}

// validTarget says what is wrong with dir as a place in a guest.
func validTarget(dir string) error {
	switch {
	case !path.IsAbs(dir) || path.Clean(dir) != dir || strings.ContainsRune(dir, 0) || !utf8.ValidString(dir):
		return errors.New("want the guest's folder as an absolute path without . .. // and NUL bytes")
	case dir == "/":
		return errors.New("the guest has its own /")
	}
	for _, own := range []string{"/dev", "/proc", "/sys"} {
		if dir == own || strings.HasPrefix(dir, own+"/") {
			return fmt.Errorf("%s is the guest kernel's", own)
		}
	}
	return nil
}

// validateMounts adds the mistakes in the machine's mounts to errs.
func (m Machine) validateMounts(errs *Errors) {
	errs.oneOf("mount-type", m.MountType, "", MountVirtiofs, Mount9p)
	if len(m.Mounts) > maxMounts {
		errs.add("mount", fmt.Sprint(len(m.Mounts)), fmt.Sprintf("want at most %d", maxMounts))
	}
	if m.Guest() == GuestProbe && len(m.Mounts) > 0 {
		errs.add("mount", m.Mounts[0].String(), "the probe guest has no files")
	}
	seen := map[string]bool{}
	for _, mount := range m.Mounts {
		errs.check("mount", mount.String(), validFile(mount.Host))
		errs.check("mount", mount.String(), validTarget(mount.Guest))
		if seen[mount.Guest] {
			errs.add("mount", mount.String(), fmt.Sprintf("%q is there twice", mount.Guest))
		}
		seen[mount.Guest] = true
	}
}
