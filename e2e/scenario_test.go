package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
)

// wantReports plays scenarios and returns their reports by name.
func (h *host) wantReports(code int, args ...string) map[string]scenarioReport {
	h.t.Helper()
	r := h.want(code, append([]string{"scenario", "run", "-o", "json"}, args...)...)
	var all []scenarioReport
	if err := json.Unmarshal([]byte(r.stdout), &all); err != nil {
		h.t.Fatalf("%v: %s", err, r)
	}
	reports := map[string]scenarioReport{}
	for _, one := range all {
		reports[one.Scenario] = one
	}
	return reports
}

type scenarioReport struct {
	Scenario, Result, Why string
	Steps                 []struct {
		What       string
		OK, Played bool
		Checks     []struct {
			What, Want, Got string
			OK              bool
		}
	}
}

// Issue D: every shipped scenario shows what it has to on this kernel, and leaves
// nothing. The one for a host that is a guest is not among them, and skipped if it is
// asked for.
func TestScenarios(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	h := newHost(t)
	reports := h.wantReports(0, "all")
	if r, there := reports[ownCIDScenario]; there {
		t.Errorf("%s is for other hosts: %+v", ownCIDScenario, r)
	}
	for name, r := range h.wantReports(6, ownCIDScenario) {
		if r.Result != "skip" || !strings.Contains(r.Why, "--own-cid") || len(r.Steps) > 0 {
			t.Errorf("%s: %+v, want it skipped", name, r)
		}
	}
	for _, name := range configs.Shipped(configs.ShippedScenario) {
		if name == ownCIDScenario {
			continue
		}
		r := reports[name]
		if r.Result != "pass" || len(r.Steps) == 0 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	h.wantClean()
}

const ownCIDScenario = "nested-own-cid"

// Issue D: a host that is a vsock guest itself keeps its CID.
func TestScenarioOfOwnCID(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes, testenv.OwnCID)
	h := newHost(t)
	if r := h.wantReports(0, ownCIDScenario)[ownCIDScenario]; r.Result != "pass" {
		t.Errorf("%+v", r)
	}
	h.wantClean()
}

// Issue D: on a kernel without modes the same files say what differs, and none
// that is about local namespaces passes.
func TestScenariosWithoutModes(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.NoModes)
	h := newHost(t)
	reports := h.wantReports(6, "cid-reuse-local", "mixed-modes", "cid-conflict-global")
	for name, words := range map[string]string{"cid-reuse-local": "cid 42 (", "mixed-modes": "cid 5043 ("} {
		if r := reports[name]; r.Result != "skip" || !strings.Contains(r.Why, words) || !strings.Contains(r.Why, "Linux 7.0") || len(r.Steps) > 0 {
			t.Errorf("%s: %+v, want it skipped, with %q", name, r, words)
		}
	}
	if r := reports["cid-conflict-global"]; r.Result != "pass" {
		t.Errorf("the one that every kernel can play: %+v", r)
	}
	h.wantClean()
}

// Issue D: a scenario that expects the wrong thing fails, with the evidence for
// each expectation.
func TestScenarioThatExpectsTheWrongThing(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	h := newHost(t)
	file := h.lab("wrong", `
scenario: wrong
lab:
  namespaces: {red: , blue: }
  defaults: {image: probe, cid: 42}
  machines: {apple: {netns: red}, berry: {netns: blue}}
steps:
  - up: all
  - dial: {from: red, cid: 42}
    expect: {reached: berry}
  - dial: {from: red, cid: 42}
    expect: {errno: ENODEV}
  - dial: {from: host, cid: 42}
    expect: {errno: ECONNRESET}
  - dial: {from: host, cid: 42}
    expect: {reached: apple}
  - dial: {from: red, to: apple, port: 7, text: hello}
    expect: {answer: goodbye}
  - mode: red
    expect: {mode: global}
  - exec: {on: apple, command: PING}
    expect: {answer: OK}
  - exec: {on: apple, command: NONSENSE}
  - dial: {from: red, to: apple, port: 7, text: hello, as: open}
  - say: {on: open, text: there}
    expect: {closed: true}
  - up: berry
    expect: {error: held by}
  - claim: {in: red, cid: 42, as: thief}
`)
	r := h.wantReports(12, file)["wrong"]
	if r.Result != "fail" {
		t.Errorf("result %q", r.Result)
	}
	want := []string{"", "apple", "it succeeded, and reached apple", "ENODEV", "ENODEV", "hello", "local", "OK pong", "unknown command", "", "open, there", "it succeeded", "EADDRINUSE"}
	if len(r.Steps) != len(want) {
		t.Fatalf("%d steps, want %d: %+v", len(r.Steps), len(want), r.Steps)
	}
	for i, s := range r.Steps {
		var bad string
		for _, c := range s.Checks {
			if !c.OK {
				bad += c.Got
			}
		}
		if s.OK != (want[i] == "") || !strings.Contains(bad, want[i]) {
			t.Errorf("step %d, %s: ok is %v, the evidence %q, want %q in it", i+1, s.What, s.OK, bad, want[i])
		}
	}
	h.wantClean()
}
