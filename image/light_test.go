package image

import (
	"slices"
	"strings"
	"testing"
)

func TestLostOptions(t *testing.T) {
	config := "# CONFIG_SMP is not set\nCONFIG_NET=y\nCONFIG_NAME=\"-x\"\nCONFIG_MODULES=y\nCONFIG_N=1\n"
	fragment := "# why\nCONFIG_NET=y\nCONFIG_SMP=n\nCONFIG_GONE=n\nCONFIG_NAME=\"-x\"\n\nCONFIG_MODULES=n\nCONFIG_RENAMED=y\nCONFIG_N=2\n"
	got := lostOptions(fragment, config)
	if want := []string{"CONFIG_MODULES=n", "CONFIG_RENAMED=y", "CONFIG_N=2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestLightConfig holds the embedded fragment to its form: each option once,
// none that would make a module, and those that the guest can't do without.
func TestLightConfig(t *testing.T) {
	fragment, err := lightFragment()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(fragment) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || !strings.HasPrefix(name, "CONFIG_") || value == "m" || seen[name] {
			t.Errorf("line %q: want CONFIG_NAME=VALUE, once, no module", line)
		}
		seen[name] = true
	}
	for _, name := range []string{"CONFIG_PVH", "CONFIG_VIRTIO_VSOCKETS", "CONFIG_VIRTIO_PCI", "CONFIG_BLK_DEV_INITRD", "CONFIG_SERIAL_8250_CONSOLE", "CONFIG_DEVTMPFS"} {
		if !seen[name] {
			t.Errorf("%s is not in the fragment", name)
		}
	}
	if strings.Contains(fragment, "#") {
		t.Error("comments are part of the fragment: changing one would build the kernel anew")
	}
}
