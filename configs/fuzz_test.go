package configs

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func FuzzDuration(f *testing.F) {
	f.Add("1h2m3.5s")
	f.Fuzz(func(t *testing.T, s string) {
		var d, again Duration
		if err := d.UnmarshalText([]byte(s)); err != nil {
			if d != 0 || !strings.HasPrefix(err.Error(), "duration ") {
				t.Errorf("%q: got %v, %v", s, d, err)
			}
			return
		}
		if err := again.UnmarshalText([]byte(d.String())); err != nil || again != d {
			t.Errorf("%q: %q is read as %v, %v", s, d, again, err)
		}
	})
}

// FuzzValidName asks that a name can be a file, a host name and a word of a
// command line, whoever chose it.
func FuzzValidName(f *testing.F) {
	f.Add("web-1.example")
	f.Fuzz(func(t *testing.T, s string) {
		if ValidName(s) != nil {
			return
		}
		if len(s) > 63 || filepath.Base(s) != s || s[0] == '-' || s[0] == '.' || strings.ContainsAny(s, " ,=:/\\'\"\n\x00") {
			t.Errorf("%q passes as a name", s)
		}
	})
}

// FuzzMachine reads blueprints. Default is done once it was done, and a machine
// that is valid comes back the same from a file and has one line for each word.
func FuzzMachine(f *testing.F) {
	f.Add([]byte(`{"name": "web", "image": "probe", "netns": "blue", "vsock": "local", "ready_timeout": "90s"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var m, again Machine
		if json.Unmarshal(text, &m) != nil {
			return
		}
		m.Default()
		once := m
		m.Default()
		if d := cmp.Diff(once, m); d != "" {
			t.Errorf("Default twice (-once +twice):\n%s", d)
		}
		if m.Validate() != nil {
			return
		}
		for _, s := range append([]string{m.Name, m.Append, m.Netns, m.Image, m.Kernel, m.Initrd, m.QEMU}, m.QEMUArgs...) {
			if strings.ContainsRune(s, 0) {
				t.Errorf("%q passes, and can be no argument of a program", s)
			}
		}
		text, err := json.Marshal(m)
		if err == nil {
			err = json.Unmarshal(text, &again)
		}
		if d := cmp.Diff(m, again, cmp.Transformer("words", func(s []string) string { return strings.Join(s, "\n") })); err != nil || d != "" {
			t.Errorf("%s: %v (-want +got):\n%s", text, err, d)
		}
	})
}

// FuzzReadLab asks of any file that it is read or refused with a position, and
// that what is read holds together: names are the host's to use, nothing waits
// for ever, a copy has every machine.
func FuzzReadLab(f *testing.F) {
	f.Add([]byte(trio))
	f.Add([]byte("machines: {a: {depends_on: b}, b: {depends_on: a}}"))
	f.Add([]byte("x-a: &a [*a, *a]\nmachines: *a"))
	f.Fuzz(func(t *testing.T, text []byte) {
		lab, err := readOne(string(text), LabOptions{})
		if err != nil {
			if many, ok := err.(FileErrors); !ok || len(many) == 0 || many[0].File != "f" || many[0].Line < 1 {
				t.Fatalf("%T %v, want mistakes with positions", err, err)
			}
			return
		}
		n := 0
		for _, wave := range lab.Waves() {
			n += len(wave)
		}
		c, err := lab.Copy(lab.Name)
		if n != len(lab.Machines) || err != nil || len(c.Machines) != n {
			t.Errorf("%d machines, %d in waves, copy %v", len(lab.Machines), n, err)
		}
		for _, m := range c.Machines {
			if err := ValidName(m.Name); err != nil {
				t.Error(err)
			}
		}
	})
}

// FuzzInterpolate asks that a text without $ stays, and that what was escaped
// comes back.
func FuzzInterpolate(f *testing.F) {
	for _, s := range []string{"", "a$$b", "${A:-x}", "${A", "$A$B", "${A:?}"} {
		f.Add(s)
	}
	none := func(string) (string, bool) { return "", false }
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = Interpolate(text, none) // ends, and does not panic
		escaped := strings.ReplaceAll(text, "$", "$$")
		if got, err := Interpolate(escaped, none); err != nil || got != text {
			t.Errorf("%q became %q, %v", escaped, got, err)
		}
	})
}
