package launcher

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vmlaunch/vmlaunch/configs"
)

func TestDifferences(t *testing.T) {
	have := configs.Machine{Name: "web", Image: configs.ImageProbe, CID: 7}
	have.Default()
	for _, c := range []struct {
		name string
		said configs.Machine
		want []string
	}{
		{"nothing said", configs.Machine{Name: "web"}, nil},
		{"the same said", have, nil},
		{"another CID", configs.Machine{CID: 8}, []string{"cid (7, want 8)"}},
		{"much", configs.Machine{Image: "linux", MemoryMiB: 64, Netns: "blue", QEMUArgs: []string{"-x"}},
			[]string{"image (probe, want linux)", "memory (2M, want 64M)", "netns (, want blue)", `qemu arguments ([], want ["-x"])`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, differences(have, c.said)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}
