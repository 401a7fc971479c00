package fleet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Pressure is how much of the last ten seconds some task of this host waited for
// a resource, in percent: "some avg10" of /proc/pressure, see
// Documentation/accounting/psi.rst of the kernel (since Linux 4.20). It is 0 where
// the kernel does not tell.
type Pressure struct{ CPU, Memory float64 }

// ReadPressure reads the pressure on this host. It fails only on a text that is
// not the kernel's.
func ReadPressure() (p Pressure, err error) {
	for _, of := range []struct {
		name string
		to   *float64
	}{{"cpu", &p.CPU}, {"memory", &p.Memory}} {
		text, err := os.ReadFile("/proc/pressure/" + of.name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EOPNOTSUPP) {
			continue // built without, or switched off
		}
		if err == nil {
			*of.to, err = parsePressure(string(text))
		}
		if err != nil {
			return Pressure{}, fmt.Errorf("read pressure of %s: %w", of.name, err)
		}
	}
	return p, nil
}

// parsePressure returns "some avg10" of a file of /proc/pressure, in percent.
func parsePressure(text string) (float64, error) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "some" {
			continue
		}
		number, found := strings.CutPrefix(f[1], "avg10=")
		v, err := strconv.ParseFloat(number, 64)
		if !found || err != nil || !(v >= 0 && v <= 100) {
			return 0, fmt.Errorf("%q: want avg10 in percent", line)
		}
		return v, nil
	}
	return 0, fmt.Errorf("%q: want a line that begins with some", text)
}
