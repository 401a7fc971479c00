package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/internal/fakeqemu"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

func TestPickUID(t *testing.T) {
	first, err := pickUID("web", 0, nil)
	if err != nil || first < firstOwnUID || first >= firstOwnUID+ownUIDs {
		t.Fatalf("got %d, %v, want one of the range", first, err)
	}
	taken := map[uint32]bool{first: true}
	second, err := pickUID("web", 0, taken)
	if err != nil || second == first {
		t.Errorf("got %d, %v, want another than %d", second, err, first)
	}
	if again, err := pickUID("web", second, taken); err != nil || again != second {
		t.Errorf("got %d, %v, want the one it had", again, err)
	}
	if again, err := pickUID("web", first, taken); err != nil || again == first {
		t.Errorf("got %d, %v, want none that another machine has", again, err)
	}
	if other, err := pickUID("web", 1000, nil); err != nil || other != first {
		t.Errorf("got %d, %v, want none outside the range", other, err)
	}
	for i := range uint32(ownUIDs) {
		taken[firstOwnUID+i] = true
	}
	if uid, err := pickUID("web", 0, taken); err == nil {
		t.Errorf("got %d, want an error: none is left", uid)
	}
}

func TestResolveAccount(t *testing.T) {
	own := inMap("0 0 4294967295\n", firstOwnUID, ownUIDs)
	if !own {
		t.Errorf("the host's own table lacks them")
	}
	for _, table := range []string{"0 100000 65536\n", "", "x", "0 1000 1\n1 100000 65536\n"} {
		if inMap(table, firstOwnUID, ownUIDs) {
			t.Errorf("%q: has them, want not", table)
		}
	}
	for asked, want := range map[string]account{
		"root": {}, "0": {}, "4242": {uid: 4242, gid: 4242},
	} {
		if got, err := resolveAccount(asked, 0); err != nil || got.own || got.named.uid != want.uid || got.named.gid != want.gid {
			t.Errorf("root asks for %s: got %+v, %v, want %+v", asked, got, err, want)
		}
	}
	if _, err := resolveAccount("no-such-user", 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want that there is none", err)
	}
	for asked, want := range map[string]error{"": nil, "4243": nil, "root": errors.ErrUnsupported, "4242": errors.ErrUnsupported, "no-such-user": errors.ErrUnsupported} {
		if got, err := resolveAccount(asked, 4243); !errors.Is(err, want) || got.own || got.named.foreign() {
			t.Errorf("user 4243 asks for %q: got %+v, %v, want %v", asked, got, err, want)
		}
	}
}

func TestMay(t *testing.T) {
	who := account{uid: 5, gid: 6, groups: []uint32{7}}
	for _, c := range []struct {
		uid, gid, mode, want uint32
		may                  bool
	}{
		{5, 0, 0o400, 4, true}, {5, 0, 0o044, 4, false}, {0, 6, 0o040, 4, true}, {0, 7, 0o060, 6, true},
		{0, 7, 0o006, 6, false}, {0, 0, 0o660, 6, false}, {0, 0, 0o004, 4, true}, {0, 0, 0o600, 4, false},
	} {
		if got := who.may(&syscall.Stat_t{Uid: c.uid, Gid: c.gid, Mode: c.mode}, c.want); got != c.may {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}

// withoutVsock returns a program that everybody can start, and that starts qemu with
// another device in place of that for vsock, which needs the kernel's help.
func withoutVsock(t *testing.T, qemu string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "vq")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "qemu")
	script := `#!/bin/sh
for a; do
	shift
	case $a in *vhost-vsock-pci*) a=virtio-rng-pci ;; esac
	set -- "$@" "$a"
done
exec ` + qemu + ` "$@"
`
	if err := errors.Join(os.WriteFile(path, []byte(script), 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	return path
}

// status returns the fields of /proc/PID/status by name.
func status(t *testing.T, pid int) map[string]string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for l := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(l, ":")
		fields[name] = strings.Join(strings.Fields(value), " ")
	}
	return fields
}

// TestQEMUHasAUserOfItsOwn starts a real QEMU with a probe guest as root does. It
// has no right and no file that it does not need, and leaves nothing.
func TestQEMUHasAUserOfItsOwn(t *testing.T) {
	testenv.Require(t, testenv.QEMU)
	b := newBench(t, true)
	disk, extra := filepath.Join(b.root, "a,b=c \"d'.raw"), filepath.Join(b.root, "extra")
	for _, path := range []string{disk, extra} {
		if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	spec := b.fakeSpec(fakeqemu.Behaviour{})
	spec.QEMU, spec.RunAs = withoutVsock(t, realQEMU(t)), ""
	spec.Image, spec.Ready = disk, configs.ReadyNone
	spec.Disks = []configs.Disk{{Path: extra, Format: configs.FormatRaw}}
	m := b.launch(spec, Detached())
	uid := fmt.Sprint(m.UID)
	s := status(t, m.QEMU.PID)
	for field, want := range map[string]string{
		"Uid": strings.Join([]string{uid, uid, uid, uid}, " "), "Gid": strings.Join([]string{uid, uid, uid, uid}, " "), "Groups": "",
		"CapEff": "0000000000000000", "CapPrm": "0000000000000000", "CapAmb": "0000000000000000",
		"NoNewPrivs": "1", "Seccomp": "2",
	} {
		if s[field] != want {
			t.Errorf("%s: got %q, want %q", field, s[field], want)
		}
	}
	if user, group := Belonging(m); user != uid || group == "" && unified(t) == cgroupRoot {
		t.Errorf("belongs to user %s and group %q, want user %s", user, group, uid)
	}
	f := b.folder("web")
	b.wantFiles(m.QEMU.PID, spec.QEMU, disk, extra, f.overlay(false), f.seed(), f.consoleLog(), f.qemuLog(), "/dev/null",
		f.credential(credentialRoot), f.credential(credentialFiles), f.credential(credentialHostname))
	b.wantRootsOnly(m.UID)
	if err := b.Down(t.Context(), "web", 0); err != nil {
		t.Fatal(err)
	}
	if user, group := Belonging(m); user+group != "" {
		t.Errorf("down: belongs to user %q and group %q", user, group)
	}
	b.wantNothing()
}

// wantFiles asks for each path that QEMU has open, sockets and the like aside.
func (b *bench) wantFiles(pid int, allowed ...string) {
	b.t.Helper()
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(links) < 5 {
		b.t.Fatalf("descriptors of QEMU: %v, %v", links, err)
	}
	sockets := 0
	for _, l := range links {
		path, err := os.Readlink(l)
		if err != nil {
			continue // closed since
		}
		switch {
		case strings.HasPrefix(path, "socket:"):
			sockets++
		case !strings.HasPrefix(path, "/") || strings.HasSuffix(path, " (deleted)"):
		case !slices.Contains(allowed, path) && !strings.HasPrefix(path, b.Dirs.Cache+"/"):
			b.t.Errorf("QEMU has %s open, want it not to", path)
		}
	}
	if sockets > 4 { // two listen, two may serve
		b.t.Errorf("QEMU has %d sockets, want its monitor and its console only", sockets)
	}
}

// wantRootsOnly asks that nothing in the machine's folders is the user's, or can be
// changed by it.
func (b *bench) wantRootsOnly(uid uint32) {
	b.t.Helper()
	for _, root := range []string{b.Dirs.Run, b.Dirs.State} {
		err := filepath.Walk(root, func(path string, info fs.FileInfo, err error) error {
			if err != nil {
				return err
			}
			if st := info.Sys().(*syscall.Stat_t); st.Uid != 0 || st.Gid == uid && info.Mode().Perm()&0o020 != 0 || info.Mode().Perm()&0o002 != 0 {
				b.t.Errorf("%s: uid %d, gid %d, %v, want it root's", path, st.Uid, st.Gid, info.Mode())
			}
			return nil
		})
		if err != nil {
			b.t.Error(err)
		}
	}
}

// TestQEMUThatItsUserCannotStart tells the way out.
func TestQEMUThatItsUserCannotStart(t *testing.T) {
	b := newBench(t, true)
	spec := b.fakeSpec(fakeqemu.Behaviour{})
	spec.RunAs = ""
	private := filepath.Join(b.root, "private")
	if err := os.Mkdir(private, 0o700); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(spec.QEMU)
	if err != nil {
		t.Fatal(err)
	}
	spec.QEMU = filepath.Join(private, "qemu")
	if err := os.WriteFile(spec.QEMU, text, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = b.Launch(context.Background(), spec)
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "--run-as root") {
		t.Errorf("got %v, want it to tell of --run-as root", err)
	}
	b.wantNothing()
}
