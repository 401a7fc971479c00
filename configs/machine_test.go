package configs

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDefaultIsValid(t *testing.T) {
	for _, image := range []string{"", ImageLinux, ImageProbe, "/images/debian.qcow2"} {
		m := Machine{Name: "web", Image: image}
		m.Default()
		if err := m.Validate(); err != nil {
			t.Errorf("image %q: defaults are invalid: %v", image, err)
		}
		again := m
		again.Default()
		if d := cmp.Diff(m, again); d != "" {
			t.Errorf("image %q: second Default changed (-first +second):\n%s", image, d)
		}
	}
}

func TestDefaultKeepsWhatWasSaid(t *testing.T) {
	m := Machine{Name: "web", Image: ImageProbe, MemoryMiB: 7, Accel: AccelTCG, Board: BoardQ35, ReadyTimeout: 1}
	want := m
	m.Default()
	want.CPUs, want.QEMU, want.DiskBus, want.Firmware, want.Ready = 1, "qemu-system-x86_64", BusVirtioBlk, FirmwareBIOS, ReadyNotify
	if d := cmp.Diff(want, m); d != "" {
		t.Errorf("default (-want +got):\n%s", d)
	}
}

func TestValidateNamesAllMistakesAtOnce(t *testing.T) {
	m := Machine{
		Name: "a/b", Image: ImageProbe, Kernel: "host", Append: "quiet", CPUs: 300, MemoryMiB: 1, Netns: "pid:x",
		Vsock: "loca", CID: 2, Accel: "hvf", Board: "microvm", QEMUArgs: []string{"a\nb"},
	}
	err := m.Validate()
	var errs Errors
	if !errors.As(err, &errs) {
		t.Fatalf("got %T %v, want Errors", err, err)
	}
	var fields []string
	for _, e := range errs {
		fields = append(fields, e.Field)
	}
	want := []string{"name", "kernel", "append", "cpus", "cpus", "memory", "netns", "vsock", "cid", "accel", "machine", "qemu",
		"timeout", "argument"}
	if d := cmp.Diff(want, fields); d != "" {
		t.Errorf("fields (-want +got):\n%s", d)
	}
	if lines := strings.Count(err.Error(), "\n") + 1; lines != len(want) {
		t.Errorf("%d lines for %d mistakes:\n%v", lines, len(want), err)
	}
}

func TestValidateOne(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*Machine)
		want string // "" for valid
	}{
		{"reserved cid", func(m *Machine) { m.CID = 1 }, `cid "1": is reserved (want 3 to 4294967294)`},
		{"any cid", func(m *Machine) { m.CID = 1<<32 - 1 }, `cid "4294967295": is reserved (want 3 to 4294967294)`},
		{"first cid", func(m *Machine) { m.CID = 3 }, ""},
		{"last cid", func(m *Machine) { m.CID = 1<<32 - 2 }, ""},
		{"little memory", func(m *Machine) { m.MemoryMiB = 8 }, `memory "8M": want at least 32M`},
		{"much memory", func(m *Machine) { m.MemoryMiB = 5 << 20 }, `memory "5242880M": want at most 4194304M`},
		{"relative netns path", func(m *Machine) { m.Netns = "run/netns/a" },
			`netns "run/netns/a": want an absolute path, a name, pid:N or container:NAME`},
		{"netns path", func(m *Machine) { m.Netns = "/run/netns/a" }, ""},
		{"netns pid", func(m *Machine) { m.Netns = "pid:1" }, ""},
		{"netns pid of none", func(m *Machine) { m.Netns = "pid:" }, `netns "pid:": want pid:N`},
		{"netns container", func(m *Machine) { m.Netns = "container:Web_1.a-b" }, ""},
		{"netns container of a runtime", func(m *Machine) { m.Netns = "container:docker/web" }, ""},
		{"netns container of none", func(m *Machine) { m.Netns = "container:" }, `netns "container:": want container:NAME, or container:podman/NAME (or docker, nerdctl)`},
		{"netns container that is a flag", func(m *Machine) { m.Netns = "container:-web" },
			`netns "container:-web": want container:NAME, or container:podman/NAME (or docker, nerdctl)`},
		{"netns container of another runtime", func(m *Machine) { m.Netns = "container:runc/web" },
			`netns "container:runc/web": want container:NAME, or container:podman/NAME (or docker, nerdctl)`},
		{"netns dots", func(m *Machine) { m.Netns = ".." }, `netns "..": want a name, an absolute path, pid:N or container:NAME`},
		{"vsock", func(m *Machine) { m.Vsock = "both" }, `vsock "both": want global or local`},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := Machine{Name: "web"}
			m.Default()
			c.edit(&m)
			got := ""
			if err := m.Validate(); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestValidName(t *testing.T) {
	for name, want := range map[string]bool{
		"web": true, "0": true, "a.b-c_d": true, strings.Repeat("a", 63): true,
		"": false, "Web": false, "-web": false, ".": false, "..": false, "a/b": false, "a b": false, "ä": false,
		"web\n": false, strings.Repeat("a", 64): false, "a,b": false,
	} {
		if err := ValidName(name); (err == nil) != want {
			t.Errorf("name %q: got %v, want valid=%v", name, err, want)
		}
	}
}

func TestParseMemory(t *testing.T) {
	for in, want := range map[string]int{
		"512": 512, "512M": 512, "512m": 512, "512MiB": 512, "1G": 1024, "2gib": 2048, "1T": 1 << 20, "0": 0,
		"": -1, "M": -1, "1.5G": -1, "64K": -1, "1MB": -1, "-1": -1, "1 G": -1, "99999999999999": -1, "5T": -1, "4294967295T": -1,
	} {
		got, err := ParseMemory(in)
		switch {
		case want >= 0 && (err != nil || got != want):
			t.Errorf("%q: got %d, %v, want %d", in, got, err, want)
		case want < 0:
			if f, ok := errors.AsType[*FieldError](err); !ok || f.Value != in {
				t.Errorf("%q: got %d, %v, want a FieldError that repeats it", in, got, err)
			}
		}
	}
}

func FuzzParseMemory(f *testing.F) {
	for _, s := range []string{"1", "1G", "x", "18446744073709551616", "4096T"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		mib, err := ParseMemory(s)
		if err == nil && (mib < 0 || mib > maxMemoryMiB) {
			t.Errorf("%q: got %d MiB", s, mib)
		}
	})
}

func TestMachineSurvivesJSON(t *testing.T) {
	m := Machine{Name: "web", QEMUArgs: []string{"-nodefaults"}, CID: 42}
	m.Default()
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(strings.Split(string(text), `"`), "5m0s") {
		t.Errorf("duration is not text: %s", text)
	}
	var got Machine
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(m, got); d != "" {
		t.Errorf("round trip (-want +got):\n%s", d)
	}
	if err := json.Unmarshal([]byte(`{"ready_timeout":"soon"}`), &got); err == nil {
		t.Error(`duration "soon" was accepted`)
	}
}
