package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// fieldStart is the place of the start time in /proc/PID/stat, counted from the
// field after the command name: field 22 of the file, the name being field 2.
const fieldStart = 22 - 3

// fieldUser and fieldSystem are those of the processor time.
const fieldUser, fieldSystem = 14 - 3, 15 - 3

// startTime reads when pid started, in clock ticks since boot, or [ErrGone].
func startTime(pid int) (uint64, error) {
	path := fmt.Sprintf("/proc/%d/stat", pid)
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, procError(pid, err)
	}
	start, err := parseStart(b)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return start, nil
}

// Worked returns the processor time that the process pid has used, in clock ticks:
// 100 a second. It fails with [ErrGone] if there is none.
func Worked(pid int) (ticks uint64, err error) {
	path := fmt.Sprintf("/proc/%d/stat", pid)
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, procError(pid, err)
	}
	for _, field := range []int{fieldUser, fieldSystem} {
		n, err := parseStat(b, field)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		ticks += n
	}
	return ticks, nil
}

// parseStart picks the start time out of a /proc/PID/stat line. It fails on
// anything else.
func parseStart(stat []byte) (uint64, error) { return parseStat(stat, fieldStart) }

// parseStat picks a number out of a /proc/PID/stat line. The command name stands in
// brackets and may itself hold brackets, blanks and newlines, so counting begins
// after the last bracket. It fails on anything else.
func parseStat(stat []byte, field int) (uint64, error) {
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return 0, fmt.Errorf("stat line %q: no command name", stat)
	}
	fields := bytes.Fields(stat[i+1:])
	if len(fields) <= field {
		return 0, fmt.Errorf("stat line %q: %d fields after the name, want over %d", stat, len(fields), field)
	}
	n, err := strconv.ParseUint(string(fields[field]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("stat line %q: field %d after the name: %w", stat, field, err)
	}
	return n, nil
}

// Cmdline returns the argument vector of the process that has pid now: empty
// for a kernel thread and for a zombie. It fails with [ErrGone] if there is none.
// The process can change what is read here; do not base trust on it.
func Cmdline(pid int) ([]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return nil, procError(pid, err)
	}
	return parseCmdline(b), nil
}

// parseCmdline splits a /proc/PID/cmdline, in which each word ends in a NUL.
func parseCmdline(b []byte) []string {
	if len(b) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
}

// bootID returns the random name the kernel gave this boot.
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
