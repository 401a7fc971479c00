package command

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vmlaunch/vmlaunch/cidalloc"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// TestReservations goes through what can be reserved and released beside two
// machines that are down. It needs no device: a number is named each time.
func TestReservations(t *testing.T) {
	root := installation(t)
	for _, c := range []struct {
		args string
		code Code
		says string // in what is printed, or in the error
	}{
		{"cid reserve 50 --for web --note exam", OK, "50\n"},
		{"cid reserve 50 --for web", OK, "50\n"},
		{"cid reserve 50 --for db", CIDConflict, `cid 50: reserved for machine "web" (vmlaunch cid release 50)`},
		{"cid reserve 51 --for web", Conflict, `cid 50 is reserved for machine "web" there`},
		{"cid reserve 42", CIDConflict, `cid 42: held by machine "apple" (stopped)`},
		{"cid reserve 42 --for berry", CIDConflict, `cid 42: held by machine "apple" (stopped)`},
		{"cid reserve 42 --for apple", OK, "42\n"},
		{"cid reserve 60 --note other -o template={{.cid}}:{{.note}}", OK, "60:other\n"},
		{"cid ls -q", OK, "42\n43\n50\n60\n"},
		{"cid ls -o template={{.state}}", OK, "leased\nleased\nreserved\nreserved\n"},
		{"cid release 42", OK, `cid 42: no longer reserved; machine "apple" goes on having it` + "\n"},
		{"cid release 42", Conflict, `machine "apple" has it (vmlaunch rm apple)`},
		{"cid release 50", OK, "cid 50: released (was reserved)\n"},
		{"cid release 50", OK, "cid 50: there was nothing to release\n"},
		{"cid release 60", OK, "cid 60: released (was reserved)\n"},
		{"cid ls -q", OK, "42\n43\n"},
	} {
		got := vmlaunchIn(t, root, nil, strings.Fields(c.args)...)
		if got.code != c.code || c.code == OK && got.stdout != c.says || !strings.Contains(got.stdout+got.stderr, c.says) {
			t.Errorf("%s: exit code %d, want %d\nstdout %q\nstderr %q\nwant   %q", c.args, got.code, c.code, got.stdout, got.stderr, c.says)
		}
	}
}

func TestCIDVerbsRefuseWhatNoGuestCanHave(t *testing.T) {
	for _, verb := range []string{"check", "who", "reserve", "release"} {
		for _, cid := range []string{"0", "1", "2", "4294967295", "4294967296", "web", "-3", "0x2a"} {
			if got := vmlaunch(t, "cid", verb, "--", cid); got.code != Usage {
				t.Errorf("cid %s %s: exit code %d, %s", verb, cid, got.code, got.stderr)
			}
		}
		if got := vmlaunch(t, "cid", verb, "42", "--netns", "no-such-namespace"); got.code != NotFound {
			t.Errorf("cid %s in no namespace: exit code %d, %s", verb, got.code, got.stderr)
		}
	}
	if got := vmlaunch(t, "cid", "reserve", "42", "--for", "A/B"); got.code != Usage {
		t.Errorf("reserved for no machine's name: exit code %d, %s", got.code, got.stderr)
	}
}

// TestCIDVerbsWithoutDevice asks that a host which can give nobody a CID is not
// taken for one on which all are free.
func TestCIDVerbsWithoutDevice(t *testing.T) {
	testenv.Require(t, testenv.NoVhostVsock)
	root := installation(t)
	for _, args := range [][]string{{"cid", "check", "50"}, {"cid", "who", "50"}, {"cid", "reserve"}} {
		if got := vmlaunchIn(t, root, nil, args...); got.code != Unable || got.stdout != "" {
			t.Errorf("%q: exit code %d, %q, %s", args, got.code, got.stdout, got.stderr)
		}
	}
	got := vmlaunchIn(t, root, nil, "cid", "ls", "--all", "-o", "json")
	var rows []cidalloc.Row
	if err := json.Unmarshal([]byte(got.stdout), &rows); err != nil {
		t.Fatalf("map: exit code %d, %s, %v", got.code, got.stderr, err)
	}
	rows = slices.DeleteFunc(rows, func(r cidalloc.Row) bool { return r.State == cidalloc.Host }) // this host may be a guest
	if len(rows) != 2 || rows[0].CID != 42 || rows[0].Held != nil {
		t.Errorf("map: got %+v, want the two machines', and the kernel not asked", rows)
	}
}

// TestSettingsWithMistakes asks that a host's settings are refused before
// anything is done, with each place that is wrong.
func TestSettingsWithMistakes(t *testing.T) {
	root := installation(t)
	file := filepath.Join(root, "config.yaml")
	writeFile(t, file, "cid:\n  rnage: {}\n")
	want := "vmlaunch: " + file + ":2:3: unknown key \"rnage\" (did you mean range?)\n"
	for _, args := range [][]string{{"ls"}, {"up", "web", "--image", "probe"}, {"cid", "ls"}, {"cid", "reserve", "50"}} {
		if got := vmlaunchIn(t, root, nil, args...); got.code != Usage || got.stderr != want {
			t.Errorf("%q: exit code %d, %s\nwant %s", args, got.code, got.stderr, want)
		}
	}
	writeFile(t, file, "cid:\n  range:\n    global: 50-50\n    local: 3-9\n    red: 7-7\n")
	got, err := ranges(file)
	want2 := cidalloc.Ranges{Global: cidalloc.Range{First: 50, Last: 50}, Local: cidalloc.Range{First: 3, Last: 9},
		Named: map[string]cidalloc.Range{"red": {First: 7, Last: 7}}, Source: file}
	if d := cmp.Diff(want2, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if got := vmlaunchIn(t, root, nil, "ls"); got.code != OK {
		t.Errorf("with good settings: exit code %d, %s", got.code, got.stderr)
	}
	if got := vmlaunchIn(t, root, nil, "cid", "reserve", "9999"); got.code != OK {
		t.Errorf("a number outside the range: exit code %d, %s", got.code, got.stderr)
	}
}
