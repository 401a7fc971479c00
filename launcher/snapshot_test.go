package launcher

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/image"
)

func TestKeepers(t *testing.T) {
	f := folder{run: "/run/web", state: "/state/web"}
	for _, c := range []struct {
		name string
		spec configs.Machine
		want string // nodes, or a part of the error
	}{
		{"disk", configs.Machine{Image: "/x"}, "disk"},
		{"disk by UEFI", configs.Machine{Image: "/x", Firmware: configs.FirmwareUEFI}, "disk nvram"},
		{"more disks", configs.Machine{Image: "/x", Disks: []configs.Disk{
			{Path: "/r", Format: configs.FormatRaw, ReadOnly: true}, {Path: "/q", Format: configs.FormatQCOW2},
		}}, "disk disk2"},
		{"linux with a disk", configs.Machine{Disks: []configs.Disk{{Path: "/q", Format: configs.FormatQCOW2}}}, "disk1"},
		{"raw", configs.Machine{Image: "/x", Disks: []configs.Disk{{Path: "/r", Format: configs.FormatRaw}}}, `no qcow2 image in "/r"`},
		{"none", configs.Machine{}, "no disk that the guest writes"},
		{"ephemeral", configs.Machine{Image: "/x", Ephemeral: true}, "no disk that outlives a stop"},
	} {
		var nodes []string
		all, err := keepers(c.spec, f)
		for _, k := range all {
			nodes = append(nodes, k.node)
		}
		got := strings.Join(nodes, " ")
		if err != nil {
			got = err.Error()
			if !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("%s: %v is of another kind", c.name, err)
			}
		}
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// tags lists the snapshots of s, those with memory in capitals.
func tags(t *testing.T, s shelf) string {
	t.Helper()
	all, err := s.list(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var tags []string
	for _, snap := range all {
		if snap.Created.Year() < 2020 {
			t.Errorf("%s was made at %s", snap.Tag, snap.Created)
		}
		if snap.MemoryBytes > 0 {
			snap.Tag = strings.ToUpper(snap.Tag)
		}
		tags = append(tags, snap.Tag)
	}
	return strings.Join(tags, " ")
}

// TestRealSnapshots keeps states of a guest that counts its boots, of two disks at
// once, with QEMU running and not, and goes back to them.
func TestRealSnapshots(t *testing.T) {
	b := newBootTest(t, filepath.Join(t.TempDir(), "a,b c"), configs.FormatRaw, configs.Machine{MemoryMiB: 64})
	b.boot("boot 1") // makes the overlay
	data := filepath.Join(filepath.Dir(b.spec.Image), "da,ta.qcow2")
	if err := image.CreateOverlay(t.Context(), data, b.disks.base, 0); err != nil {
		t.Fatal(err)
	}
	b.spec.Disks = []configs.Disk{{Path: data, Format: configs.FormatQCOW2}}
	images, err := keepers(b.spec, b.files)
	if err != nil || len(images) != 2 {
		t.Fatalf("got %v, %v, want two images", images, err)
	}
	idle, ctx := idleShelf(images), t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	want := func(s shelf, list string) {
		t.Helper()
		if got := tags(t, s); got != list {
			t.Errorf("got snapshots %q, want %q", got, list)
		}
	}
	want(idle, "")
	must(idle.create(ctx, "one", false))
	b.boot("boot 2")
	must(idle.create(ctx, "two", false))
	b.live = func(live liveShelf) {
		live.images = images
		want(live, "one two")
		must(live.create(ctx, "three", true))
		must(live.create(ctx, "four", false))
		want(live, "one two THREE four")
		must(live.restore(ctx, "three"))
		if s, err := live.qemu.Status(ctx); err != nil || !s.Running {
			t.Errorf("after going back: %+v, %v, want it to run", s, err)
		}
		must(live.remove(ctx, "two"))
		want(live, "one THREE four")
		if err := live.restore(ctx, "none"); err == nil || !strings.Contains(err.Error(), "none") {
			t.Errorf("back to none: %v", err)
		}
	}
	b.boot("boot 3")
	b.live = nil
	want(idle, "one THREE four")
	must(idle.restore(ctx, "one"))
	b.boot("boot 2")
	must(idle.restore(ctx, "three")) // its disk only
	b.boot("boot 4")
	must(image.DeleteSnapshot(ctx, data, "four"))
	if err := idle.restore(ctx, "four"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("one of two images lacks it: %v, want it told", err)
	}
	b.boot("boot 5") // and nothing done
	must(idle.remove(ctx, "four"))
	must(idle.remove(ctx, "one"))
	want(idle, "THREE")
	// One that can't be made of all is made of none.
	must(image.CreateSnapshot(ctx, data, "half"))
	if err := (idleShelf{images[0], {"x", data + ".gone"}}).create(ctx, "whole", false); err == nil {
		t.Error("a snapshot of an image that is gone was made")
	}
	want(idle, "THREE")
}
