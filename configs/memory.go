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
	number, unit := s, ""
	if i := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		number, unit = s[:i], strings.ToLower(s[i:])
	}
	scale := map[string]int{
		"": 1, "m": 1, "mib": 1, "g": 1 << 10, "gib": 1 << 10, "t": 1 << 20, "tib": 1 << 20,
	}[unit]
	n, perr := strconv.ParseUint(number, 10, 32)
	if perr != nil || scale == 0 {
		return 0, &FieldError{"memory", s, "want a number of MiB, or one ending in M, G or T"}
	}
	mib = int(n) * scale
	if mib > maxMemoryMiB {
		return 0, &FieldError{"memory", s, fmt.Sprintf("want at most %dM", maxMemoryMiB)}
	}
	return mib, nil
}
