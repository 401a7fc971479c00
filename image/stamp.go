package image

import (
	"fmt"
	"os"
	"time"
)

// A Stamp is by what a file that others may change is known again.
type Stamp struct {
	Path     string    `json:"path"`
	Bytes    int64     `json:"bytes"`
	Modified time.Time `json:"modified"`
}

// Stamps returns the stamps of the files that d is made of. A block device has none:
// nothing tells when it was written. It fails if a file is gone.
func (d Disk) Stamps() ([]Stamp, error) {
	var all []Stamp
	for l := &d; l != nil; l = l.Backing {
		if l.Device {
			continue
		}
		st, err := os.Stat(l.Path)
		if err != nil {
			return nil, fmt.Errorf("disk image %q: %w", l.Path, bare(err))
		}
		all = append(all, Stamp{l.Path, st.Size(), st.ModTime().UTC()})
	}
	return all, nil
}
