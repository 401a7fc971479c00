package command

import (
	"path/filepath"
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
