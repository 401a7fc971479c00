package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
)

// Marked returns the processes that were started with the variable mark,
// "NAME=value", in their environment: a mark that children inherit, for finding
// processes whose pid nobody got to write down. Those whose environment we may
// not read are left out. It fails without /proc. A process can change what is
// read here; do not base trust on it.
func Marked(mark string) ([]ID, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []ID
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// The name comes first: a signal to it reaches the process that has this
		// environment, or none.
		id, err := Identify(pid)
		if err != nil {
			continue // gone, or a zombie
		}
		env, err := environ(pid)
		if errors.Is(err, ErrGone) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if slices.Contains(env, mark) {
			found = append(found, id)
		}
	}
	return found, nil
}

// environ returns the environment that pid was started with, see
// proc_pid_environ(5). It fails with [ErrGone] and with [fs.ErrPermission].
func environ(pid int) ([]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return nil, procError(pid, err)
	}
	return parseCmdline(bytes.TrimRight(b, "\x00")), nil
}
