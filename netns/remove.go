package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Remove takes the name off a namespace, whoever gave it. The namespace itself
// goes when no process, socket or descriptor keeps it; Remove does not wait for
// that. What a killed creator left is removed too, and of a symbolic link the
// link only.
//
// It fails with [fs.ErrNotExist] if there is no such name, with
// [fs.ErrPermission], and with [fs.ErrInvalid] if something stands under the
// name that no creator makes.
func Remove(name string) error {
	path, err := pinPath(name)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		// Perhaps without even a directory to lock.
		return fmt.Errorf("remove netns %q: %w", name, errAbsent)
	}
	err = locked(func() error { return remove(path) })
	if err != nil {
		return fmt.Errorf("remove netns %q: %w", name, err)
	}
	return nil
}

// remove does the work of [Remove], under the lock.
func remove(path string) error {
	p, err := lookAt(path)
	if err != nil {
		return err
	}
	switch p {
	case pinNone:
		return errAbsent
	case pinUnknown:
		return fmt.Errorf("%s: %w: neither a namespace nor an empty file", path, fs.ErrInvalid)
	case pinLink:
		return os.Remove(path)
	case pinHalf:
		if pid := mountedFor(path); pid != 0 {
			return fmt.Errorf("%w here, but it is pinned in the mount namespace of process %d (try: nsenter -t %[2]d -m ip netns del)", errAbsent, pid)
		}
	}
	return unsetPin(path)
}

// List returns the names that lead to a network namespace, sorted, whoever
// gave them. It fails only if /run/netns is there and can't be read.
func List() ([]string, error) {
	entries, err := os.ReadDir(runDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list netns: %w", err)
	}
	var names []string
	for _, e := range entries {
		f, err := openFile(runDir + "/" + e.Name())
		if err != nil {
			continue // half-made, a dangling link, or gone meanwhile
		}
		names = append(names, e.Name())
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	return names, nil
}
