package launcher

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// TestResolveSaysAllAtOnce names an image, a QEMU and a socket path that can't be
// had, on a host that has no CIDs either.
func TestResolveSaysAllAtOnce(t *testing.T) {
	l := newLauncher("/"+strings.Repeat("x", 100), false)
	l.cids = noCIDs{}
	spec := configs.Machine{Name: "web", Image: "debian", QEMU: "qemu-system-nowhere"}
	spec.Default()
	_, err := l.resolve(t.Context(), spec)
	for _, want := range []string{
		"no /dev/vhost-vsock", `image "debian": file does not exist (there are: linux, probe, and the paths of disk images)`, "no qemu-system-nowhere", "want at most 107",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
	if !errors.Is(err, errors.ErrUnsupported) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v: kinds are lost", err)
	}
	if _, err := os.Stat(l.Dirs.State); err == nil {
		t.Error("something was made")
	}
}

// noCIDs is a host without the device.
type noCIDs struct{ fakeCIDs }

func (noCIDs) check() error { return &MissingError{What: vhostDevice, Hint: "modprobe"} }

func TestCheckImage(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk.qcow2")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]error{
		"linux": nil, "probe": nil, "debian": fs.ErrNotExist, disk + ".gone": fs.ErrNotExist, disk: nil,
	} {
		if err := checkImage(ref); !errors.Is(err, want) || (want == nil) != (err == nil) {
			t.Errorf("image %q: got %v, want %v", ref, err, want)
		}
	}
}

// TestCommandLineNeedsNoDevice prints what would be started where it can't be.
func TestCommandLineNeedsNoDevice(t *testing.T) {
	testenv.Require(t, testenv.QEMU)
	l := newLauncher(t.TempDir(), false)
	l.cids = noCIDs{}
	spec := configs.Machine{Name: "web", Image: configs.ImageProbe, CID: 42, Accel: configs.AccelTCG}
	args, err := l.CommandLine(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(args[0]) || !slices.Contains(args, "guest=web") || !strings.Contains(strings.Join(args, " "), `"guest-cid":42`) {
		t.Errorf("got %q", args)
	}
	if _, err := os.Stat(l.Dirs.State); err == nil {
		t.Error("something was recorded")
	}
}
