package forward

import (
	"os"

	"golang.org/x/sys/unix"
)

const (
	// filesEach is what one connection needs of the limit of open files at worst: a
	// socket on each side, and a pipe for each direction.
	filesEach = 6

	// filesOwn is what a process needs besides: the state file, locks, logs.
	filesOwn = 64
)

// Most returns how many connections at once this process's limit of open files
// allows, at least one. The Go runtime has raised the soft limit to the hard one. It
// fails if the limit can't be read.
func Most() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, os.NewSyscallError("getrlimit", err)
	}
	return mostFor(limit.Cur), nil
}

// mostFor returns how many connections so many files are enough for.
func mostFor(files uint64) int {
	const enough = 1 << 20 // connections: more than ports
	if files < filesOwn+filesEach {
		return 1
	}
	return int(min((files-filesOwn)/filesEach, enough))
}
