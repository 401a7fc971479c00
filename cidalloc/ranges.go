package cidalloc

import (
	"fmt"

	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// A Range is the CIDs from First to Last, both of them in it. The zero Range is
// all that guests can have.
type Range struct{ First, Last vsock.CID }

// Ranges bound which CIDs are chosen. A number that is asked for, reserved, or a
// machine's already, may lie outside. The zero Ranges bound nothing.
type Ranges struct {
	Global Range            // the space of all global namespaces
	Local  Range            // each local namespace
	Named  map[string]Range // the local namespace of that name, instead of Local
	Source string           // the file that says so
}

// of returns the range for p, and the words for where it is from.
func (r Ranges) of(p place) (in Range, source string) {
	in, key := r.Local, "local"
	if p.space == store.Global {
		in, key = r.Global, "global"
	} else if named, there := r.Named[p.ref]; there {
		in, key = named, p.ref
	}
	if in == (Range{}) {
		return Range{vsock.FirstGuest, vsock.LastGuest}, ""
	}
	return in, fmt.Sprintf(" (cid.range.%s in %s)", key, r.Source)
}
