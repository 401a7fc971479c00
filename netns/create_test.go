package netns_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
	"golang.org/x/sys/unix"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

// publicActor is actor with a binary that every user may run.
func publicActor(t *testing.T, part string) *exec.Cmd {
	t.Helper()
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "netns-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cmd := actor(part)
	cmd.Path, cmd.Dir = filepath.Join(dir, "actor"), "/"
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(cmd.Path, binary, 0o755)); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// asNobody is actor without any privilege.
func asNobody(t *testing.T, part string) *exec.Cmd {
	t.Helper()
	cmd := publicActor(t, part)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	return cmd
}

func TestCreateOpenListRemove(t *testing.T) {
	testenv.Require(t, testenv.Root)
	n := create(t, "t-a.b_c-1", vsock.Global)
	if m, err := n.Mode(); m != vsock.Global || err != nil {
		t.Errorf("mode: got %v, %v; want global", m, err)
	}
	if again, err := netns.Create("t-a.b_c-1", vsock.Global); !errors.Is(err, fs.ErrExist) || again != nil {
		t.Errorf("second Create: got %v, %v; want fs.ErrExist", again, err)
	}
	opened, err := netns.Open("t-a.b_c-1")
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if opened.ID() != n.ID() || n.ID().IsZero() || opened.Ref() != n.Ref() {
		t.Errorf("opened %v %q, created %v %q", opened.ID(), opened.Ref(), n.ID(), n.Ref())
	}
	if names, err := netns.List(); err != nil || !slices.Contains(names, "t-a.b_c-1") {
		t.Errorf("list: got %v, %v", names, err)
	}
	if err := netns.Remove("t-a.b_c-1"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat("/run/netns/t-a.b_c-1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("file after Remove: %v", err)
	}
	if err := netns.Remove("t-a.b_c-1"); !errors.Is(err, fs.ErrNotExist) || err.Error() != `remove netns "t-a.b_c-1": does not exist` {
		t.Errorf("second Remove: got %v, want fs.ErrNotExist", err)
	}
	if _, err := netns.Open("t-a.b_c-1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open after Remove: got %v, want fs.ErrNotExist", err)
	}
	if err := n.Do(func() error { return nil }); err != nil {
		t.Errorf("an open namespace ends with its name: %v", err)
	}
}

func TestCreateRefusesBadArguments(t *testing.T) {
	for _, name := range []string{"", "../evil", "Blue", "a/b"} {
		if n, err := netns.Create(name, vsock.Global); !errors.Is(err, netns.ErrBadName) {
			t.Errorf("name %q: got %v, %v; want ErrBadName", name, n, err)
		}
	}
	if n, err := netns.Create("t-mode", 0); !errors.Is(err, vsock.ErrBadMode) {
		t.Errorf("mode 0: got %v, %v; want ErrBadMode", n, err)
	}
	for _, name := range []string{"", "..", "../../etc/passwd", "a/b"} {
		if err := netns.Remove(name); !errors.Is(err, netns.ErrBadName) {
			t.Errorf("remove %q: got %v, want ErrBadName", name, err)
		}
	}
}

func TestCreateLocalWithoutModes(t *testing.T) {
	testenv.Require(t, testenv.NoModes)
	n, err := netns.Create("t-local", vsock.Local)
	if !errors.Is(err, errors.ErrUnsupported) || n != nil {
		t.Errorf("got %v, %v; want unsupported", n, err)
	}
	if _, err := os.Lstat("/run/netns/t-local"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

// TestOpenByAnyRef asks that every way in leads to the same namespace and says
// the same name.
func TestOpenByAnyRef(t *testing.T) {
	testenv.Require(t, testenv.Root)
	n := create(t, "t-ref", vsock.Global)
	var s *stander
	if err := n.Do(func() error { s = start(t, actor("stay")); return nil }); err != nil {
		t.Fatal(err)
	}
	pid := "pid:" + itoa(s.Process.Pid)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("/run/netns/t-ref", link); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"t-ref", "/run/netns/t-ref", "/proc/" + itoa(s.Process.Pid) + "/ns/net", pid, link} {
		opened, err := netns.Open(ref)
		if err != nil {
			t.Error(err)
			continue
		}
		if opened.ID() != n.ID() || opened.Ref() != "t-ref" {
			t.Errorf("%q: got %v %q, want %v t-ref", ref, opened.ID(), opened.Ref(), n.ID())
		}
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := netns.Remove("t-ref"); err != nil {
		t.Fatal(err)
	}
	nameless, err := netns.Open(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer nameless.Close()
	if nameless.Ref() != pid || nameless.ID() != n.ID() {
		t.Errorf("nameless: got %q %v, want %q %v", nameless.Ref(), nameless.ID(), pid, n.ID())
	}
}

func TestOpenWhatIsNone(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]error{
		"t-absent":          fs.ErrNotExist,
		"/nowhere/at/all":   fs.ErrNotExist,
		"pid:2147483647":    fs.ErrNotExist,
		"..":                netns.ErrBadName,
		"/etc/passwd":       nil,
		"/proc/self/ns/mnt": nil,
		fifo:                nil,
	} {
		n, err := netns.Open(ref)
		if err == nil || n != nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%q: got %v, %v; want %v", ref, n, err, want)
		}
		if want == nil && (err == nil || !contains(err.Error(), "not a network namespace")) {
			t.Errorf("%q: got %v, want it told that this is none", ref, err)
		}
	}
}

// TestInsideIPNetnsExec asks that a process which was started inside a named
// namespace does not call it "".
func TestInsideANamedNamespace(t *testing.T) {
	testenv.Require(t, testenv.Root)
	n := create(t, "t-inside", vsock.Global)
	var said string
	if err := n.Do(func() (err error) { said, err = asks(t, actor("own")); return err }); err != nil {
		t.Fatal(err)
	}
	if want := `"t-inside" ` + n.ID().String() + " global"; said != want {
		t.Errorf("got %s, want %s", said, want)
	}
}

// TestFact24 asks that an identity is never used again, by the kernel's own
// count where it has one.
func TestFact24CookiesAreNeverReused(t *testing.T) {
	testenv.Require(t, testenv.Root)
	boot, err := netns.BootID()
	if err != nil || len(boot) != 36 {
		t.Fatalf("boot id: got %q, %v", boot, err)
	}
	seen := map[netns.ID]bool{}
	for range 30 {
		n, err := netns.Create("t-cookie", vsock.Global)
		if err != nil {
			t.Fatal(err)
		}
		if seen[n.ID()] || n.ID().Boot != boot || n.ID().Cookie == 0 {
			t.Errorf("id %v is used again or incomplete", n.ID())
		}
		seen[n.ID()] = true
		if err := errors.Join(n.Close(), netns.Remove("t-cookie")); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRacingCreatorsHaveOneWinner(t *testing.T) {
	testenv.Require(t, testenv.Root)
	t.Run("for a free name", race)
	t.Run("for a name to be healed", func(t *testing.T) {
		if err := os.WriteFile("/run/netns/t-race", nil, 0o444); err != nil {
			t.Fatal(err)
		}
		race(t)
	})
}

func race(t *testing.T) {
	t.Cleanup(func() {
		if err := netns.Remove("t-race"); err != nil {
			t.Error(err)
		}
	})
	var racers []*stander
	for range 8 {
		racers = append(racers, start(t, actor("race t-race global")))
	}
	for _, r := range racers {
		_ = r.stdin.Close() // go
	}
	winners := 0
	for _, r := range racers {
		switch said, err := r.end(t); {
		case err == nil && said == "global":
			winners++
		case !contains(said, "exists already"):
			t.Errorf("loser says %q, %v; want that it exists already", said, err)
		}
	}
	if winners != 1 {
		t.Errorf("%d winners, want 1", winners)
	}
	n, err := netns.Open("t-race")
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}
