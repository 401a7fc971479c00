package netns_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
	"golang.org/x/sys/unix"
)

func itoa(n int) string { return strconv.Itoa(n) }

// directory makes sure that /run/netns is there as Create leaves it.
func directory(t *testing.T) {
	t.Helper()
	n := create(t, "t-directory", vsock.Global)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestHalfMadePinIsHealed(t *testing.T) {
	testenv.Require(t, testenv.Root)
	directory(t)
	half := func() {
		if err := os.WriteFile("/run/netns/t-half", nil, 0o444); err != nil {
			t.Fatal(err)
		}
	}
	half()
	if _, err := netns.Open("t-half"); !errors.Is(err, fs.ErrNotExist) || !contains(err.Error(), "creator that was killed") {
		t.Errorf("open: got %v, want fs.ErrNotExist with the reason", err)
	}
	if names, err := netns.List(); err != nil || slices.Contains(names, "t-half") {
		t.Errorf("list: got %v, %v; want it left out", names, err)
	}
	if err := netns.Remove("t-half"); err != nil {
		t.Errorf("remove: %v", err)
	}
	half()
	n := create(t, "t-half", vsock.Global)
	if err := n.Do(func() error { return nil }); err != nil {
		t.Errorf("healed: %v", err)
	}
}

// TestStrangersFilesStay asks that what no creator makes is neither overwritten
// nor deleted.
func TestStrangersFilesStay(t *testing.T) {
	testenv.Require(t, testenv.Root)
	directory(t)
	const path = "/run/netns/t-stranger"
	if err := os.WriteFile(path, []byte("notes"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(path) })
	if _, err := netns.Create("t-stranger", vsock.Global); !errors.Is(err, fs.ErrExist) {
		t.Errorf("create: got %v, want fs.ErrExist", err)
	}
	if err := netns.Remove("t-stranger"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("remove: got %v, want fs.ErrInvalid", err)
	}
	if text, err := os.ReadFile(path); string(text) != "notes" || err != nil {
		t.Errorf("file: got %q, %v", text, err)
	}
}

// TestLinkIsRemovedAlone takes a name that is a link, as people make for
// containers, and asks that Remove does not touch what it leads to.
func TestLinkIsRemovedAlone(t *testing.T) {
	testenv.Require(t, testenv.Root)
	n := create(t, "t-target", vsock.Global)
	if err := os.Symlink("/run/netns/t-target", "/run/netns/t-link"); err != nil {
		t.Fatal(err)
	}
	opened, err := netns.Open("t-link")
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if opened.ID() != n.ID() || opened.Ref() != "t-link" {
		t.Errorf("got %v %q, want %v t-link", opened.ID(), opened.Ref(), n.ID())
	}
	if _, err := netns.Create("t-link", vsock.Global); !errors.Is(err, fs.ErrExist) {
		t.Errorf("create over a link: got %v, want fs.ErrExist", err)
	}
	if err := netns.Remove("t-link"); err != nil {
		t.Fatal(err)
	}
	target, err := netns.Open("t-target")
	if err != nil {
		t.Fatalf("the target went with the link: %v", err)
	}
	if err := target.Close(); err != nil {
		t.Error(err)
	}
}

func TestDoublyMountedNameIsRemoved(t *testing.T) {
	testenv.Require(t, testenv.Root)
	create(t, "t-double", vsock.Global)
	if err := unix.Mount("/proc/self/ns/net", "/run/netns/t-double", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	if err := netns.Remove("t-double"); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat("/run/netns/t-double"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("file after Remove: %v", err)
	}
}

// TestIPNetns asks that `ip netns` works on ours and we work on its.
func TestIPNetns(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.Tools)
	ip := func(arg ...string) string {
		t.Helper()
		out, err := exec.Command("ip", append([]string{"netns"}, arg...)...).CombinedOutput()
		if err != nil {
			t.Errorf("ip netns %q: %v: %s", arg, err, out)
		}
		return string(out)
	}
	ours := create(t, "t-ours", vsock.Global)
	ip("add", "T theirs") // a name that Create would not give
	theirs, err := netns.Open("T theirs")
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	if theirs.ID() == ours.ID() || theirs.Ref() != "T theirs" {
		t.Errorf("theirs: got %v %q", theirs.ID(), theirs.Ref())
	}
	if got := ip("exec", "t-ours", "readlink", "/proc/self/ns/net"); !contains(got, itoa(int(inodeOf(t, "/run/netns/t-ours")))) {
		t.Errorf("ip netns exec runs in %s", got)
	}
	if err := netns.Remove("T theirs"); err != nil {
		t.Errorf("remove theirs: %v", err)
	}
	ip("del", "t-ours")
	if _, err := os.Lstat("/run/netns/t-ours"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ours after ip netns del: %v", err)
	}
}

// playFresh pins a namespace where no /run/netns has ever been, and lets
// iproute2 come second.
func playFresh(...string) (string, error) {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return "", err
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return "", err
	}
	n, err := netns.Create("ours", vsock.Global)
	if err != nil {
		return "", err
	}
	defer n.Close()
	for _, arg := range [][]string{{"add", "theirs"}, {"del", "ours"}} {
		if out, err := exec.Command("ip", append([]string{"netns"}, arg...)...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("ip netns %q: %w: %s", arg, err, out)
		}
	}
	names, err := netns.List()
	return fmt.Sprint(names), errors.Join(err, netns.Remove("theirs"))
}

// TestIPNetnsComesSecond asks that the directory is prepared as `ip netns add`
// does it: otherwise that would cover our names, and nobody could remove them.
func TestIPNetnsComesSecond(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.Tools)
	cmd := actor("fresh")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if said, err := asks(t, cmd); said != "[theirs]" || err != nil {
		t.Errorf("got %q, %v; want theirs only", said, err)
	}
}

// playPrivate pins a namespace where only its own mount namespace sees it.
func playPrivate(arg ...string) (string, error) {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return "", err
	}
	n, err := netns.Create(arg[0], vsock.Global)
	if err != nil {
		return "", err
	}
	if err := n.Close(); err != nil {
		return "", err
	}
	if _, err := playStay(); err != nil {
		return "", err
	}
	again, err := netns.Open(arg[0])
	if err != nil {
		return "", err
	}
	defer again.Close()
	return "still there", netns.Remove(arg[0])
}

// TestPinInAPrivateMountNamespace asks that healing does not take a namespace
// away from a service that pinned it for itself: its file looks half made.
func TestPinInAPrivateMountNamespace(t *testing.T) {
	testenv.Require(t, testenv.Root)
	directory(t)
	cmd := actor("private t-private")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	s := start(t, cmd)
	pid := itoa(s.Process.Pid)
	if _, err := netns.Open("t-private"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open: got %v, want fs.ErrNotExist", err)
	}
	if _, err := netns.Create("t-private", vsock.Global); !errors.Is(err, fs.ErrExist) || !contains(err.Error(), "process "+pid) {
		t.Errorf("create: got %v, want fs.ErrExist that names process %s", err, pid)
	}
	if err := netns.Remove("t-private"); !errors.Is(err, fs.ErrNotExist) || !contains(err.Error(), "nsenter -t "+pid) {
		t.Errorf("remove: got %v, want fs.ErrNotExist that names process %s", err, pid)
	}
	if said, err := s.end(t); said != "still there" || err != nil {
		t.Errorf("the service says %q, %v", said, err)
	}
}
