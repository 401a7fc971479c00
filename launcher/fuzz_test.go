package launcher

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

// FuzzReadEnding reads logs that QEMU, or who ended it, wrote as they liked. A
// cause goes into a line of a table and onto a terminal.
func FuzzReadEnding(f *testing.F) {
	f.Add([]byte("qemu-system-x86_64: terminating on signal 15 from pid 7 (sh)\n"))
	f.Fuzz(func(t *testing.T, log []byte) {
		e := readEnding(log)
		if e.asked && e.cause == "" {
			t.Errorf("%q: was asked for, and nobody knows by whom", log)
		}
		if strings.ContainsFunc(e.cause, unicode.IsControl) {
			t.Errorf("%q: cause %q has a control character", log, e.cause)
		}
	})
}

// FuzzBootTail asks for a bounded number of harmless lines, from a panic on if
// there is one.
func FuzzBootTail(f *testing.F) {
	f.Add([]byte("booting\r\n\x1b[1mKernel panic - not syncing\x1b[0m\r\nCPU: 0\r\n"), uint8(2))
	f.Fuzz(func(t *testing.T, log []byte, n uint8) {
		lines := bootTail(log, int(n))
		if len(lines) > int(n) {
			t.Errorf("got %d lines, want at most %d", len(lines), n)
		}
		for _, l := range lines {
			if l == "" || strings.ContainsFunc(l, unicode.IsControl) {
				t.Errorf("%q: got the line %q", log, l)
			}
		}
		all := tail(log, len(log))
		if i := strings.Index(strings.Join(all, "\n"), kernelPanic); i >= 0 && n > 0 && !strings.Contains(lines[0], kernelPanic) {
			t.Errorf("%q: got %q, want it from the panic on", log, lines)
		}
	})
}

// FuzzReadVerdict asks that a verdict on KVM is believed only if it is whole.
func FuzzReadVerdict(f *testing.F) {
	f.Add([]byte(`{"failure":"it hangs"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "accel", "k.json")
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		failure, ok := readVerdict(path)
		if !ok {
			if failure != "" {
				t.Errorf("%q: got %q and not ok", text, failure)
			}
			return
		}
		if !json.Valid(text) {
			t.Errorf("%q is believed", text)
		}
		if err := writeVerdict(path, failure); err != nil {
			t.Fatal(err)
		}
		if again, ok := readVerdict(path); !ok || again != failure {
			t.Errorf("%q: written again it is %q, %v, want %q", text, again, ok, failure)
		}
	})
}
