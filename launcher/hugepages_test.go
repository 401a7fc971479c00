package launcher

import (
	"errors"
	"strings"
	"testing"
)

const meminfo = "MemTotal:  3929092 kB\nHugePages_Total:      64\nHugePages_Free:       40\nHugePages_Rsvd:        8\nHugePages_Surp:        0\nHugepagesize:       2048 kB\n"

func TestHugepages(t *testing.T) {
	h := readHugepages(meminfo)
	if want := (hugepages{sizeKiB: 2048, free: 32, total: 64}); h != want {
		t.Fatalf("got %+v, want %+v", h, want)
	}
	for mib, want := range map[int]string{64: "", 2: "", 66: "vm.nr_hugepages=65", 256: "128 free huge pages of 2048K (32 of 64 are free)", 63: "--memory 64M"} {
		err := h.enough(mib)
		if want == "" && err != nil || want != "" && (!errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%dM: got %v, want %q", mib, err, want)
		}
	}
	if err := readHugepages("").enough(64); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a kernel without: got %v", err)
	}
}

func FuzzReadHugepages(f *testing.F) {
	f.Add(meminfo)
	f.Fuzz(func(t *testing.T, text string) {
		if h := readHugepages(text); h.free < 0 || h.total < 0 || h.sizeKiB < 0 {
			t.Errorf("%q: got %+v", text, h)
		}
	})
}
