package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"strconv"
)

// Processes returns the ids of the processes that are in n, ascending. A user
// without privilege sees only the own ones. It fails if /proc can't be read or
// n is closed.
func (n *NS) Processes() ([]int, error) {
	if _, err := n.f.Stat(); err != nil {
		return nil, fmt.Errorf("processes in netns %q: %w", n.ref, err)
	}
	if _, err := os.Stat("/proc/self"); err != nil {
		return nil, fmt.Errorf("processes in netns %q: %w", n.ref, err)
	}
	var pids []int
	for pid := range processes() {
		if n.isAt(fmt.Sprintf("/proc/%d/ns/net", pid)) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// processes goes through the ids of all processes, ascending. Each may be gone
// when it is looked at.
func processes() iter.Seq[int] {
	return func(yield func(int) bool) {
		dir, err := os.Open("/proc")
		if err != nil {
			return
		}
		defer dir.Close()
		names, err := dir.Readdirnames(-1)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return
		}
		for _, name := range names { // the kernel lists processes ascending
			pid, err := strconv.Atoi(name)
			if err == nil && !yield(pid) {
				return
			}
		}
	}
}
