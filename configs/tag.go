package configs

import (
	"fmt"
	"regexp"
)

var snapshotTag = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]{0,62}$`)

// ValidTag says what is wrong with s as the tag of a snapshot. One that begins with
// a digit could be a number that QEMU gives.
func ValidTag(s string) error {
	if snapshotTag.MatchString(s) {
		return nil
	}
	return fmt.Errorf("want 1 to 63 of A-Z a-z 0-9 . _ - and a letter first")
}
