package testenv

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// recorder is a test that notes how it ended.
type recorder struct {
	testing.TB
	failed, skipped string
}

func (r *recorder) Helper()                   {}
func (r *recorder) Fatalf(f string, a ...any) { r.failed = fmt.Sprintf(f, a...) }
func (r *recorder) Skipf(f string, a ...any)  { r.skipped = fmt.Sprintf(f, a...) }

// missing is a need this host can't meet: the path of the light kernel is not
// set for this test.
func missing(t *testing.T) Need {
	t.Setenv(LightKernel, "")
	return Light
}

func TestRequire(t *testing.T) {
	lack := missing(t)
	tests := map[string]struct {
		promises   string
		needs      []Need
		fail, skip string
	}{
		"no needs":         {"", nil, "", ""},
		"missing":          {"", []Need{lack}, "", "needs light (try: vmlaunch image build light): VMLAUNCH_TEST_LIGHT is not set"},
		"missing promised": {"root, light", []Need{lack}, "VMLAUNCH_TEST_NEEDS promises light, but: VMLAUNCH_TEST_LIGHT is not set", ""},
		"other promised":   {"root", []Need{lack}, "", "needs light"},
		"typo in promise":  {"lite", nil, "no such need: lite (there are: root, qemu,", ""},
		"unknown need":     {"", []Need{99}, "", "need 99: no such need"},
		"nest not asked":   {"", []Need{Nest}, "", "not asked for"},
		"host to be kept":  {"", []Need{Throwaway}, "", "not asked for"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := &recorder{}
			require(r, tt.promises, tt.needs)
			if !strings.Contains(r.failed, tt.fail) || (tt.fail == "") != (r.failed == "") {
				t.Errorf("failure: got %q, want %q", r.failed, tt.fail)
			}
			if !strings.Contains(r.skipped, tt.skip) || (tt.skip == "") != (r.skipped == "") {
				t.Errorf("skip: got %q, want %q", r.skipped, tt.skip)
			}
		})
	}
}

func TestEveryNeedHasItsOwnNameAndHint(t *testing.T) {
	var seen []string
	for i, n := range all() {
		if int(n) != i+1 {
			t.Errorf("need %d stands at place %d of all", int(n), i+1)
		}
		if n.String() == "unknown" || slices.Contains(seen, n.String()) {
			t.Errorf("need %d: name %q is not its own", int(n), n)
		}
		if n.hint() == "" {
			t.Errorf("need %s has no hint", n)
		}
		seen = append(seen, n.String())
	}
	if next := Need(len(all()) + 1); next.String() != "unknown" {
		t.Errorf("need %s is not in all", next)
	}
}

func TestModesAndNoModesExcludeEachOther(t *testing.T) {
	if Has(VsockModes) && Has(NoModes) {
		t.Error("a kernel both has and lacks modes")
	}
}

func TestRootIsMeasured(t *testing.T) {
	if os.Geteuid() != 0 && Has(Root) {
		t.Error("root found without effective user 0")
	}
	t.Setenv(LightKernel, "/proc/self/exe")
	if !Has(Light) {
		t.Error("light kernel not found where it is")
	}
}
