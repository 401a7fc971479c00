package launcher

import (
	"fmt"
	"os"
	"strings"

	"github.com/vmlaunch/vmlaunch/configs"
)

// hugepages are the huge pages of the default size that a host has; see
// hugetlbpage.rst in Linux's documentation.
type hugepages struct {
	sizeKiB, free int
	total         int
}

// checkMemory is checkHugepages for a spec that wants them.
func checkMemory(spec configs.Machine) error {
	if !spec.Hugepages {
		return nil
	}
	return checkHugepages(spec.MemoryMiB)
}

// checkHugepages fails with a [*MissingError] if the host has not enough of them for
// that much memory. Who else wants them may still be quicker: then QEMU says so.
func checkHugepages(memoryMiB int) error {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return err
	}
	return readHugepages(string(text)).enough(memoryMiB)
}

// enough is checkHugepages as a pure function.
func (h hugepages) enough(memoryMiB int) error {
	if h.sizeKiB == 0 {
		return &MissingError{What: "huge pages in this kernel", Need: "have --hugepages"}
	}
	want := memoryMiB << 10 / h.sizeKiB
	if memoryMiB<<10%h.sizeKiB != 0 {
		return &MissingError{What: fmt.Sprintf("way to part %dM into huge pages of %dK", memoryMiB, h.sizeKiB), Need: "have --hugepages",
			Hint: fmt.Sprintf("a multiple: --memory %dM", ((want+1)*h.sizeKiB+1023)>>10)}
	}
	if want > h.free {
		return &MissingError{What: fmt.Sprintf("%d free huge pages of %dK (%d of %d are free)", want, h.sizeKiB, h.free, h.total),
			Need: "have --hugepages", Hint: fmt.Sprintf("try: sysctl vm.nr_hugepages=%d", h.total+want-h.free)}
	}
	return nil
}

// readHugepages reads /proc/meminfo, see proc_meminfo(5). What is not there is zero.
// Pages that are promised to somebody are not free.
func readHugepages(text string) hugepages {
	var h hugepages
	reserved := 0
	fields := map[string]*int{
		"HugePages_Total": &h.total, "HugePages_Free": &h.free, "HugePages_Rsvd": &reserved, "Hugepagesize": &h.sizeKiB,
	}
	for _, l := range strings.Split(text, "\n") {
		name, value, _ := strings.Cut(l, ":")
		if n := 0; fields[name] != nil {
			if _, err := fmt.Sscan(value, &n); err == nil && n >= 0 {
				*fields[name] = n
			}
		}
	}
	h.free = max(0, h.free-reserved)
	return h
}
