package command

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

func TestUnit(t *testing.T) {
	u := unit{
		machine: "web", dir: "/home/a b/100%", restart: "on-failure", ready: 5 * time.Minute, root: true,
		command: []string{"/usr/bin/vmlaunch", "run", "--keep", "--append=a \"b\" $HOME 50% \\ ; 'c'\n\tü", "--", "web"},
	}
	got, err := u.text()
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/web.service"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, dir := range []string{"/a\nb", "/a ", `/a\`} {
		u.dir = dir
		if _, err := u.text(); err == nil {
			t.Errorf("%q: want an error", dir)
		}
	}
}

// TestUnitIsSystemds asks systemd itself, where it is installed.
func TestUnitIsSystemds(t *testing.T) {
	testenv.Require(t, testenv.Systemd)
	u := unit{
		machine: "web", dir: "/", restart: "always", ready: time.Minute, root: true,
		command: []string{"/bin/true", "run", "--append=a \"b\" $HOME ${X} 50% %n \\ ; 'c'\n\tü\x01", ";", "", "--", "web"},
	}
	text, err := u.text()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "vmlaunch-web.service")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", path).CombinedOutput()
	if err != nil || strings.Contains(string(out), "vmlaunch-web") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// A machine of a lab has its lab's file in the unit, its own restart, and its place after
// those that it depends on.
func TestSystemdUnitOfALabsMachine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lab.yaml")
	text := "name: shop\ndefaults: {image: probe}\nmachines:\n  db: {replicas: 2}\n  web: {restart: always, depends_on: [db]}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code Code
		want []string
	}{
		{[]string{"web"}, OK, []string{
			"# vmlaunch-shop.web.service,", "\nRestart=always\n", "run --keep --file=" + file + " -- web\n",
			"\nWants=vmlaunch-shop.db-1.service vmlaunch-shop.db-2.service\nAfter=vmlaunch-shop.db-1.service vmlaunch-shop.db-2.service\n\n[Service]\n",
		}},
		{[]string{"db-2", "--restart", "no"}, OK, []string{"\nRestart=no\n", "\nStartLimitIntervalSec=0\n\n[Service]\n"}},
		{[]string{"db-1"}, OK, []string{"\nRestart=on-failure\n"}},
		{[]string{"web", "--lab", "other"}, OK, []string{"vmlaunch-other.web.service", "--lab=other"}},
		{[]string{"wed"}, Usage, []string{`machine "wed": lab shop has none of that name (it has: db-1, db-2, web)`}},
		{nil, Usage, []string{`machine ""`}},
		{[]string{"web", "--image", "linux"}, Usage, []string{"--image describes a machine"}},
	} {
		var out strings.Builder
		h := Host{In: strings.NewReader(""), Out: &out, Err: &out, Getenv: func(string) string { return "" }}
		if code := Run(t.Context(), h, append([]string{"systemd-unit", "-f", file}, c.args...)...); code != c.code {
			t.Errorf("%q: exit code %d, want %d: %s", c.args, code, c.code, &out)
		}
		for _, want := range c.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q: lacks %q:\n%s", c.args, want, &out)
			}
		}
	}
}

func TestSystemdUnitOfFlags(t *testing.T) {
	var out strings.Builder
	h := Host{In: strings.NewReader(""), Out: &out, Err: &out, Getenv: func(string) string { return "" }}
	if code := Run(t.Context(), h, "systemd-unit", "web", "--image", "probe", "--netns", "lab", "--qemu-arg=-device", "--qemu-arg=a,b c", "--restart", "always", "--root", "/srv/x"); code != OK {
		t.Fatalf("exit code %d: %s", code, &out)
	}
	for _, want := range []string{" run --keep ", " --image=probe ", " --qemu-arg=-device \"--qemu-arg=a,b c\" ", " --root=/srv/x ", " -- web\n", "Restart=always\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("has no %q:\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "--restart") {
		t.Errorf("has --restart:\n%s", &out)
	}
	for _, args := range [][]string{{"--restart", "perhaps"}, {"--cpus", "0"}, {"a", "b"}} {
		if code := Run(t.Context(), h, append([]string{"systemd-unit"}, args...)...); code != Usage {
			t.Errorf("%q: exit code %d, want %d", args, code, Usage)
		}
	}
}

// readWord reads a word of a unit's command line as systemd does: extract_first_word
// with its flags for ExecStart, then specifiers, then variables.
func readWord(s string) (word string, ok bool) {
	if strings.HasPrefix(s, `"`) {
		if len(s) < 2 || s[len(s)-1] != '"' {
			return "", false
		}
		s = s[1 : len(s)-1]
	} else if strings.ContainsAny(s, " \t\n\"'\\;") || s == "" {
		return "", false
	}
	var b []byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\n' || c == '"':
			return "", false
		case c == '\\':
			if i++; i == len(s) {
				return "", false
			}
			switch s[i] {
			case '\\', '"':
				b = append(b, s[i])
			case 'x':
				const digits = "0123456789abcdef"
				if i+2 >= len(s) {
					return "", false
				}
				hi, lo := strings.IndexByte(digits, s[i+1]), strings.IndexByte(digits, s[i+2])
				if hi < 0 || lo < 0 {
					return "", false
				}
				b = append(b, byte(hi<<4|lo))
				i += 2
			default:
				return "", false
			}
		case c == '%' || c == '$':
			if i++; i == len(s) || s[i] != c {
				return "", false
			}
			b = append(b, c)
		default:
			b = append(b, c)
		}
	}
	return string(b), true
}

func FuzzUnitWord(f *testing.F) {
	for _, s := range []string{"", "a", "a b", `"`, `\`, "%n", "$HOME", "\n", "ü", ";", "'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			return // no argument has a NUL; systemd takes no other bytes
		}
		got, ok := readWord(unitWord(s))
		if !ok || got != s {
			t.Errorf("%q: as %s it is read as %q, %v", s, unitWord(s), got, ok)
		}
	})
}

func TestServiceManagerIsTold(t *testing.T) {
	for name, socket := range map[string]string{
		"path": filepath.Join(t.TempDir(), "n"), "abstract": "@vmlaunch-test-" + filepath.Base(t.TempDir()) + time.Now().Format("150405.000000"),
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := serviceManager(socket).tell("READY=1"); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 64)
			if n, err := conn.Read(buf); err != nil || string(buf[:n]) != "READY=1" {
				t.Errorf("got %q, %v, want READY=1", buf[:n], err)
			}
		})
	}
	for _, none := range []string{"", "vsock:2:1", "relative"} {
		m := serviceManager(none)
		if err := m.tell("READY=1"); m != nil || err != nil {
			t.Errorf("%q: got %v, %v, want nobody", none, m, err)
		}
		m.watch(context.Background(), nil, "web")()
	}
	if err := serviceManager("/nonexistent").tell("READY=1"); err == nil {
		t.Error("nobody listens: want an error")
	}
}
