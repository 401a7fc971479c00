package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"

	"github.com/vmlaunch/vmlaunch/vsock"
)

// A LockedError says that no global namespace can be made on this host any
// more: the children of the namespace this process is in are local for good,
// and so are those of every other namespace. It answers errors.Is for
// [errors.ErrUnsupported] and [vsock.ErrLocked].
type LockedError struct {
	Tried  int // other namespaces that were tried
	Denied int // other namespaces that this user may not enter
}

func (e *LockedError) Error() string {
	const text = "no way left to a global namespace: the children of this one are local for good, as somebody locked its child_ns_mode"
	switch {
	case e.Denied > 0:
		return fmt.Sprintf("%s, and %d others may not be entered (try: as root)", text, e.Denied)
	case e.Tried > 0:
		return fmt.Sprintf("%s, and so are those of all %d others (only a reboot helps)", text, e.Tried)
	}
	return text + ", and there is no other (only a reboot helps)"
}

// Is reports whether target is one of the two errors told at LockedError.
func (e *LockedError) Is(target error) bool {
	return target == errors.ErrUnsupported || target == vsock.ErrLocked
}

// bearElsewhere makes a global namespace by way of another existing one whose
// children are global. It fails with a [*LockedError] if there is none.
func bearElsewhere() (*os.File, error) {
	var none LockedError
	for n, err := range others() {
		var f *os.File
		if err == nil {
			f, err = n.bear(vsock.Global)
		}
		switch {
		case err == nil:
			return f, nil
		case errors.Is(err, errOtherMode):
			none.Tried++
		case errors.Is(err, fs.ErrPermission):
			none.Denied++
		default:
			return nil, err
		}
	}
	return nil, &none
}

// others goes through the network namespaces that have a name or a process,
// each once, without the one this process is in. A namespace is closed when the
// loop goes on. One that can't be opened comes as an error, unless it is gone.
func others() iter.Seq2[*NS, error] {
	return func(yield func(*NS, error) bool) {
		seen := map[inode]bool{}
		if info, err := os.Stat(ownPath); err == nil {
			seen[inodeOf(info)] = true
		}
		for path := range namespaceFiles() {
			info, err := os.Stat(path)
			if err == nil && seen[inodeOf(info)] || errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil {
				seen[inodeOf(info)] = true
			}
			if !visitFile(path, yield) {
				return
			}
		}
	}
}

// visitFile yields the namespace at path, open for as long as that takes. It
// reports whether to go on.
func visitFile(path string, yield func(*NS, error) bool) bool {
	f, err := openFile(path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return yield(nil, err)
	case err != nil: // half-made, or gone meanwhile
		return true
	}
	defer f.Close()
	return yield(&NS{f: f}, nil)
}

// namespaceFiles goes through the paths that may lead to a namespace: names
// first, as they are few.
func namespaceFiles() iter.Seq[string] {
	return func(yield func(string) bool) {
		entries, _ := os.ReadDir(runDir) // without the directory there are no names
		for _, e := range entries {
			if !yield(runDir + "/" + e.Name()) {
				return
			}
		}
		for pid := range processes() {
			if !yield(fmt.Sprintf("/proc/%d/ns/net", pid)) {
				return
			}
		}
	}
}
