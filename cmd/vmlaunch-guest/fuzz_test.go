package main

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// FuzzWords reads back what package guest makes of an argument vector, and asks
// of any other line that its words, quoted, are the same words.
func FuzzWords(f *testing.F) {
	f.Add("exec 'it'\\''s' a")
	f.Fuzz(func(t *testing.T, line string) {
		if got, err := words("exec " + quoted([]string{line, ""})); err != nil || !slices.Equal(got, []string{line, ""}) {
			t.Errorf("%q, quoted: got %q, %v", line, got, err)
		}
		argv, err := words(line)
		if err != nil {
			if !errors.Is(err, errNeedsShell) || argv != nil {
				t.Errorf("%q: got %q, %v", line, argv, err)
			}
			return
		}
		if again, err := words(quoted(argv)); err != nil || !slices.Equal(again, argv) {
			t.Errorf("%q: got %q, and quoted %q, %v", line, argv, again, err)
		}
	})
}

func quoted(argv []string) string {
	all := make([]string, len(argv))
	for i, w := range argv {
		all[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return strings.Join(all, " ")
}

// FuzzNetlink reads messages of the kernel's form that it never sends.
func FuzzNetlink(f *testing.F) {
	f.Add(acpiEvent(powerButton))
	f.Fuzz(func(t *testing.T, m []byte) {
		if isPowerButton(m) && !bytes.Contains(m, []byte(powerButton)) {
			t.Errorf("% x is taken for a press of the power button", m)
		}
		if n, ok := groupNumber(m, acpiGroup); ok && !bytes.Contains(m, []byte(acpiGroup)) {
			t.Errorf("% x: got group %d", m, n)
		}
		size := 0
		for _, value := range attributes(m) {
			size += len(value) + 4
		}
		if size > len(m) {
			t.Errorf("% x: attributes of %d bytes from %d", m, size, len(m))
		}
	})
}

// FuzzDiskMounts mounts a disk on any path and asks for it back.
func FuzzDiskMounts(f *testing.F) {
	f.Add("/data/with blank\\", "tmpfs /tmp tmpfs rw 0 0\n")
	f.Fuzz(func(t *testing.T, target, before string) {
		if target == "" || strings.ContainsRune(target, 0) {
			return // no path
		}
		// As seq_path of the kernel's fs/seq_file.c writes it for fs/proc_namespace.c.
		mangled := strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace(target)
		got := diskMounts(before + "\n/dev/vda " + mangled + " ext4 rw 0 0\n")
		if len(got) == 0 || got[0] != target {
			t.Errorf("got %q, want %q first", got, target)
		}
	})
}

// FuzzEnv sets a variable as a client does. The program must find each name
// once, and what a vector of C strings can hold.
func FuzzEnv(f *testing.F) {
	f.Add(ssh.Marshal(struct{ Name, Value string }{"PATH", "/bin"}))
	f.Fuzz(func(t *testing.T, payload []byte) {
		var s session
		granted := s.handle(&ssh.Request{Type: "env", Payload: payload})
		if granted != (len(s.env) == 1) {
			t.Errorf("% x: granted %v, kept %q", payload, granted, s.env)
		}
		seen := map[string]bool{}
		for _, kv := range s.environ() {
			name, _, ok := strings.Cut(kv, "=")
			if !ok || name == "" || seen[name] || strings.ContainsRune(kv, 0) {
				t.Errorf("% x: environment %q", payload, s.environ())
			}
			seen[name] = true
		}
	})
}
