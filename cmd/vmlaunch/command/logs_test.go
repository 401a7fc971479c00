package command

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/paths"
	"github.com/vmlaunch/vmlaunch/launcher"
)

func TestLogsPrintsTheRightOne(t *testing.T) {
	root := installation(t)
	dirs, err := paths.Resolve(root)
	if err != nil {
		t.Fatal(err)
	}
	logs := launcher.New(launcher.Config{Dirs: dirs}).Logs("apple")
	for path, text := range map[string]string{
		logs.Console: "up\nthis boot", logs.ConsolePrevious: "down\nlast boot\n", logs.QEMU: "qemu now", logs.QEMUPrevious: "qemu then",
	} {
		writeFile(t, path, text)
	}
	for _, c := range []struct {
		flags []string
		want  string
	}{
		{nil, "up\nthis boot"},
		{[]string{"--previous"}, "down\nlast boot\n"},
		{[]string{"--tail", "1"}, "this boot"},
		{[]string{"--tail", "0"}, ""},
		{[]string{"--tail", "1", "--previous"}, "last boot\n"},
		{[]string{"--tail", "1", "--follow"}, "this boot"},
		{[]string{"--follow", "--previous"}, "down\nlast boot\nup\nthis boot"},
		{[]string{"-f", "--previous", "--tail", "1"}, "last boot\nup\nthis boot"},
		{[]string{"--qemu"}, "qemu now"},
		{[]string{"--qemu", "--previous"}, "qemu then"},
		{[]string{"--follow"}, "up\nthis boot"}, // the machine is down: it ends
	} {
		got := vmlaunchIn(t, root, nil, append([]string{"logs", "apple"}, c.flags...)...)
		if got.stdout != c.want || got.code != OK {
			t.Errorf("logs %q: %q, exit code %d, %s; want %q", c.flags, got.stdout, got.code, got.stderr, c.want)
		}
	}
	if filepath.Dir(logs.Console) != filepath.Join(root, "state", "machines", "apple") {
		t.Errorf("logs are at %s", logs.Console)
	}
}

// TestLogsOfAll prints those of several machines line by line, each behind its
// machine's name, and fails for the one that has none.
func TestLogsOfAll(t *testing.T) {
	root := installation(t)
	dirs, err := paths.Resolve(root)
	if err != nil {
		t.Fatal(err)
	}
	l := launcher.New(launcher.Config{Dirs: dirs})
	writeFile(t, l.Logs("apple").Console, "one\ntwo")
	got := vmlaunchIn(t, root, nil, "logs", "--all")
	if got.stdout != "apple | one\napple | two\n" || got.code != Partial {
		t.Errorf("%q, exit code %d, %s", got.stdout, got.code, got.stderr)
	}
	writeFile(t, l.Logs("berry").Console, "three\n")
	got = vmlaunchIn(t, root, nil, "logs", "--all", "--tail", "1")
	if lines := strings.SplitAfter(got.stdout, "\n"); len(lines) != 3 || !slices.Contains(lines, "apple | two\n") || !slices.Contains(lines, "berry | three\n") || got.code != OK {
		t.Errorf("%q, exit code %d, %s", got.stdout, got.code, got.stderr)
	}
	if got := vmlaunchIn(t, root, nil, "logs", "--all", "apple"); got.code != Usage {
		t.Errorf("with a name: exit code %d, %s", got.code, got.stderr)
	}
}
