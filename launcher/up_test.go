package launcher

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

func TestDifferences(t *testing.T) {
	spec := configs.Machine{Name: "web", Image: configs.ImageProbe}
	spec.Default()
	have := store.Machine{Name: "web", Spec: spec, CID: 7, Netns: store.NetnsRef{Mode: vsock.Local}}
	for _, c := range []struct {
		name string
		said configs.Machine
		want []string
	}{
		{"nothing said", configs.Machine{Name: "web"}, nil},
		{"the same said", spec, nil},
		{"what was chosen", configs.Machine{CID: 7, Vsock: configs.VsockLocal}, nil},
		{"another mode", configs.Machine{Vsock: configs.VsockGlobal}, []string{"vsock (local, want global)"}},
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
