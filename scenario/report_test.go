package scenario

import (
	"encoding/xml"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func sample() []Report {
	return []Report{
		{
			Scenario: "a#b", Result: Fail, Took: 1500 * time.Millisecond, Steps: []StepReport{
				{What: "up apple", OK: true, Played: true, Checks: []Check{{"succeeds", "done", "done", true}}, Took: time.Second},
				{What: "dial\nfrom red", Played: true, Checks: []Check{{"fails with", "ENODEV", "it <succeeded>\x01", false}}},
				{What: "kill apple", Checks: []Check{{"is played", "played", "not played", false}}},
			},
		},
		{Scenario: "old", Result: Skip, Why: "no # modes"},
		{Scenario: "stage", Result: Fail, Why: "no vsock"},
	}
}

func TestWriteTAP(t *testing.T) {
	var b strings.Builder
	if err := WriteTAP(&b, sample()); err != nil {
		t.Fatal(err)
	}
	want := `TAP version 14
1..3
# Subtest: a\#b
    1..3
    ok 1 - up apple
    # succeeds done, got done
    not ok 2 - dial from red
    # fails with ENODEV, got it <succeeded>` + "\x01" + `
    not ok 3 - kill apple
    # is played played, got not played
not ok 1 - a\#b
ok 2 - old # SKIP no \# modes
# Subtest: stage
    1..0
not ok 3 - stage
# no vsock
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestWriteJUnit(t *testing.T) {
	var b strings.Builder
	if err := WriteJUnit(&b, sample()); err != nil {
		t.Fatal(err)
	}
	var got junitSuites
	if err := xml.Unmarshal([]byte(b.String()), &got); err != nil {
		t.Fatalf("%v in\n%s", err, b.String())
	}
	if len(got.Suites) != 3 {
		t.Fatalf("%d suites", len(got.Suites))
	}
	a, old, stage := got.Suites[0], got.Suites[1], got.Suites[2]
	if a.Tests != 3 || a.Failures != 2 || a.Cases[0].Failure != nil || a.Time != "1.500" {
		t.Errorf("a: %+v", a)
	}
	if f := a.Cases[1].Failure; f == nil || f.Message != "fails with: want ENODEV, got it <succeeded>" {
		t.Errorf("a, second step: %+v", f)
	}
	if old.Skipped != 1 || old.Cases[0].Skipped == nil || old.Cases[0].Skipped.Message != "no # modes" {
		t.Errorf("old: %+v", old)
	}
	if stage.Failures != 1 || stage.Cases[0].Failure == nil {
		t.Errorf("stage: %+v", stage)
	}
}
