package launcher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/internal/agentconfig"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// TestPlanShares chooses how folders get into a guest, on hosts of all kinds.
func TestPlanShares(t *testing.T) {
	classic, old, modern := virtiofsd{path: "/v", classic: true}, virtiofsd{path: "/v"}, virtiofsd{path: "/v", readOnly: true}
	for _, c := range []struct {
		name  string
		asked string
		v     virtiofsd
		root  bool
		want  string // the types of a writable folder and of one that is not; "" if it fails
	}{
		{"modern", "", modern, true, "virtiofs virtiofs"},
		{"modern, user", "", modern, false, "virtiofs virtiofs"},
		{"old", "", old, true, "virtiofs 9p"},
		{"classic", "", classic, true, "virtiofs virtiofs"},
		{"classic, user", "", classic, false, "9p 9p"},
		{"none", "", virtiofsd{}, true, "9p 9p"},
		{"9p asked for", "9p", modern, true, "9p 9p"},
		{"virtiofs asked for", "virtiofs", classic, true, "virtiofs virtiofs"},
		{"virtiofs asked for, none", "virtiofs", virtiofsd{}, true, ""},
		{"virtiofs asked for, old", "virtiofs", old, true, ""},
		{"virtiofs asked for, classic, user", "virtiofs", classic, false, ""},
	} {
		spec := configs.Machine{MountType: c.asked, Mounts: []configs.Mount{{Host: "/a", Guest: "/b"}, {Host: "/a", Guest: "/c", ReadOnly: true}}}
		shares, err := planShares(spec, c.v, c.root)
		if c.want == "" {
			if missing, ok := errors.AsType[*MissingError](err); !ok || !strings.Contains(missing.Hint, "--mount-type 9p") {
				t.Errorf("%s: got %+v, %v, want what is missing, and a way out", c.name, shares, err)
			}
			continue
		}
		if err != nil || len(shares) != 2 || shares[0].Type+" "+shares[1].Type != c.want {
			t.Errorf("%s: got %+v, %v, want %s", c.name, shares, err, c.want)
		}
	}
}

func TestRealFolders(t *testing.T) {
	dir := t.TempDir()
	odd := filepath.Join(dir, "-a, 'b' \"c\"\n:d=\\")
	file, link, loop := filepath.Join(dir, "file"), filepath.Join(dir, "link"), filepath.Join(dir, "loop")
	if err := errors.Join(os.Mkdir(odd, 0o700), os.WriteFile(file, nil, 0o600), os.Symlink(odd, link), os.Symlink("loop", loop)); err != nil {
		t.Fatal(err)
	}
	got, err := realFolders([]configs.Mount{{Host: odd, Guest: "/a"}, {Host: link, Guest: "/b", ReadOnly: true}})
	if d := cmp.Diff([]configs.Mount{{Host: odd, Guest: "/a"}, {Host: odd, Guest: "/b", ReadOnly: true}}, got); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	_, err = realFolders([]configs.Mount{{Host: dir + "/none"}, {Host: file}, {Host: loop}})
	for _, want := range []string{`none": no such file`, `file": is not a folder`, `loop": too many levels`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
	if _, err := realFolders([]configs.Mount{{Host: file}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want an fs.ErrNotExist", err)
	}
}

// oddShares are shares of every kind, with a path that has everything in it.
func oddShares() []Share {
	odd := configs.Mount{Host: "/a, 'b' \"c\"\n:d=\\", Guest: "/b/c \t\n#\\"}
	ro := configs.Mount{Host: "/srv", Guest: "/b", ReadOnly: true}
	return []Share{
		{Mount: odd, Tag: "mount0", Type: configs.Mount9p, Model: "passthrough"},
		{Mount: ro, Tag: "mount1", Type: configs.Mount9p, Model: "none"},
		{Mount: odd, Tag: "mount2", Type: configs.MountVirtiofs, FD: 5},
		{Mount: ro, Tag: "mount3", Type: configs.MountVirtiofs, FD: 6},
	}
}

// sampleShares is a linux guest with them.
func sampleShares() Plan {
	p := samplePlan(configs.Machine{}, 0, false)
	p.Shares, p.SharedMemory = oddShares(), true
	return p
}

func TestFstab(t *testing.T) {
	want := []string{
		`mount0 /b/c\040\011\012\043\134 9p rw,trans=virtio,version=9p2000.L 0 0`,
		`mount1 /b 9p ro,trans=virtio,version=9p2000.L 0 0`,
		`mount2 /b/c\040\011\012\043\134 virtiofs rw 0 0`,
		`mount3 /b virtiofs ro 0 0`,
	}
	if d := cmp.Diff(want, fstab(oddShares())); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestFstabIsACredential puts the lines of shares behind the user's own.
func TestFstabIsACredential(t *testing.T) {
	for said, want := range map[string]string{"": "", "a /b ext4": "a /b ext4\n", "a\nb\n": "a\nb\n"} {
		b := firstBoot{credentials: map[string]string{}}
		if said != "" {
			b.credentials["fstab.extra"] = said
		}
		b.mount(nil)
		if b.credentials["fstab.extra"] != said {
			t.Errorf("without shares: %q, want %q", b.credentials, said)
		}
		b.mount(oddShares()[1:2])
		if got := b.credentials["fstab.extra"]; got != want+"mount1 /b 9p ro,trans=virtio,version=9p2000.L 0 0\n" {
			t.Errorf("got %q", got)
		}
	}
}

// FuzzFstabField reads fields back as getmntent of the C library does.
func FuzzFstabField(f *testing.F) {
	f.Add("/a b\\040\n")
	decode := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`, `\043`, "#")
	f.Fuzz(func(t *testing.T, s string) {
		field := fstabField(s)
		if strings.ContainsAny(field, " \t\n#") || decode.Replace(field) != s {
			t.Errorf("%q: written as %q, read back as %q", s, field, decode.Replace(field))
		}
	})
}

// TestGuestMounts asks for an order in which no folder hides another one.
func TestGuestMounts(t *testing.T) {
	got := guestMounts([]Share{
		{Mount: configs.Mount{Host: "/x", Guest: "/a/b"}, Tag: "mount0", Type: configs.MountVirtiofs},
		{Mount: configs.Mount{Host: "/y", Guest: "/a", ReadOnly: true}, Tag: "mount1", Type: configs.Mount9p},
	})
	want := []agentconfig.Mount{
		{Tag: "mount1", Type: agentconfig.NineP, Target: "/a", ReadOnly: true}, {Tag: "mount0", Type: agentconfig.Virtiofs, Target: "/a/b"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestReadOnlyMount(t *testing.T) {
	testenv.Require(t, testenv.Root)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := readOnlyMount(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	through := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	if text, err := os.ReadFile(filepath.Join(through, "file")); err != nil || string(text) != "text" {
		t.Errorf("read: %q, %v", text, err)
	}
	if err := os.WriteFile(filepath.Join(through, "file"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("write: got %v, want a read-only file system", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Errorf("the folder itself: %v", err)
	}
}
