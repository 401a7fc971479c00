package command

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/configs"
)

// blueprintOf parses flags as up does.
func blueprintOf(t *testing.T, args ...string) (configs.Machine, error) {
	t.Helper()
	var f machineFlags
	cmd := &cobra.Command{Use: "up"}
	f.add(cmd)
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	return f.blueprint(cmd, "web")
}

// TestBlueprintLeavesUnsaidFieldsZero is what makes `up web` on a machine that
// exists mean "as it is".
func TestBlueprintLeavesUnsaidFieldsZero(t *testing.T) {
	got, err := blueprintOf(t)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(configs.Machine{Name: "web"}, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestBlueprintOfAllFlags(t *testing.T) {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	got, err := blueprintOf(t, "--image", "linux", "--kernel", "./vmlinux", "--append", "debug", "--cpus", "2", "--memory", "2G", "--netns", "red",
		"--vsock", "local", "--cid", "42", "--accel", "tcg", "--machine", "q35", "--qemu", "qemu-kvm", "--qemu-arg", "-s", "--qemu-arg", "a,b",
		"--timeout", "90s", "--mount", "a, 'b:/c d:ro", "--mount", "-x/../y:/y", "--mount-type", "9p")
	if err != nil {
		t.Fatal(err)
	}
	want := configs.Machine{
		Name: "web", Image: "linux", Kernel: filepath.Join(dir, "vmlinux"), Append: "debug", CPUs: 2, MemoryMiB: 2048, Netns: "red",
		Vsock: "local", CID: 42, Accel: "tcg", Board: "q35", QEMU: "qemu-kvm", QEMUArgs: []string{"-s", "a,b"},
		ReadyTimeout: configs.Duration(90 * time.Second), MountType: "9p",
		Mounts: []configs.Mount{{Host: filepath.Join(dir, "a, 'b"), Guest: "/c d", ReadOnly: true}, {Host: filepath.Join(dir, "y"), Guest: "/y"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestShellWords(t *testing.T) {
	got := shellWords([]string{"qemu", "-append", "a b", `{"x":"y"}`, "it's", ""})
	if want := `qemu -append 'a b' '{"x":"y"}' 'it'\''s' ''`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestShortDurations(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                               "",
		59 * time.Second:                "59s",
		61 * time.Second:                "1m1s",
		time.Hour:                       "1h0m",
		26*time.Hour + 59*time.Minute:   "1d2h",
		100*time.Minute + 1*time.Second: "1h40m",
	} {
		if got := short(d); got != want {
			t.Errorf("short(%v) = %q, want %q", d, got, want)
		}
	}
}
