package configs

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseMemory reads an amount of memory: a whole number of MiB, or one that
// ends in M (MiB), G (GiB) or T (TiB), upper or lower case, with or without
// "iB". Decimal units (MB) are refused: QEMU has none, and guessing is worse.
// It returns a [*FieldError] for anything else.
func ParseMemory(s string) (mib int, err error) {
	return parseSize("memory", s, maxMemoryMiB)
}

// ParseDiskSize reads the size of a disk, at least 1 MiB, in the form of
// [ParseMemory]. It returns a [*FieldError] for anything else.
func ParseDiskSize(s string) (mib int, err error) {
	mib, err = parseSize("disk-size", s, maxDiskMiB)
	if err == nil && mib == 0 {
		return 0, &FieldError{"disk-size", s, "want at least 1M"}
	}
	return mib, err
}

func parseSize(field, s string, most int) (mib int, err error) {
	number, unit := s, ""
	if i := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		number, unit = s[:i], strings.ToLower(s[i:])
	}
	scale := map[string]int{
		"": 1, "m": 1, "mib": 1, "g": 1 << 10, "gib": 1 << 10, "t": 1 << 20, "tib": 1 << 20,
	}[unit]
	n, perr := strconv.ParseUint(number, 10, 32)
	if perr != nil || scale == 0 {
		return 0, &FieldError{field, s, "want a number of MiB, or one ending in M, G or T"}
	}
	mib = int(n) * scale
	if mib > most {
		return 0, &FieldError{field, s, fmt.Sprintf("want at most %dM", most)}
	}
	return mib, nil
}
