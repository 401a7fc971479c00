package cidalloc

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

func TestRows(t *testing.T) {
	w := newWorld(t)
	self, err := proc.Self()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Round(0).UTC()
	local := store.Space("local/a/1")
	w.put(
		store.Lease{CID: 42, Space: local, Machine: "web", Taken: now},
		store.Lease{CID: 42, Space: store.Global, Machine: "lost", Taken: now},
		store.Lease{CID: 43, Space: store.Global, Machine: "ended", Taken: now},
		store.Lease{CID: 7, Space: store.Global, Freed: now, Last: "db"},
		store.Lease{CID: 8, Space: store.Global, Freed: now.Add(-coolDown), Last: "db"},
		store.Lease{CID: 9, Space: store.Global, Foreign: "pid 812", Seen: now},
		store.Machine{Name: "web", Phase: store.Running, Netns: store.NetnsRef{Ref: "blue"}, QEMU: self},
		store.Machine{Name: "ended", Phase: store.Running, QEMU: proc.ID{PID: self.PID, Start: 1, Boot: self.Boot}},
	)
	cooling := Row{CID: 7, Space: store.Global, Mode: vsock.Global, State: Cooling, Machine: "db", Since: now}
	owned := []Row{
		{CID: 9, Space: store.Global, Mode: vsock.Global, State: Foreign, Holder: "pid 812", Since: now},
		{CID: 42, Space: store.Global, Mode: vsock.Global, State: Leased, Machine: "lost", Since: now},
		{CID: 43, Space: store.Global, Mode: vsock.Global, State: Leased, Machine: "ended", Since: now},
		{CID: 42, Space: local, Mode: vsock.Local, State: Leased, Machine: "web", Netns: "blue", PID: self.PID, Since: now},
	}
	for all, want := range map[bool][]Row{false: owned, true: append([]Row{cooling}, owned...)} {
		got, err := w.Rows(t.Context(), all)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("all %v (want - got +):\n%s", all, d)
		}
	}
}
