package scenario

import (
	"time"

	"github.com/vmlaunch/vmlaunch/configs"
)

// A Result is what became of a scenario.
type Result string

// The results.
const (
	Pass Result = "pass"
	Fail Result = "fail"
	Skip Result = "skip" // this host can't play it: see Report.Why
)

// A Report is what was seen of a scenario.
type Report struct {
	Scenario string        `json:"scenario"`
	About    string        `json:"about,omitempty"`
	Kernel   string        `json:"kernel"`
	Result   Result        `json:"result"`
	Why      string        `json:"why,omitempty"` // it was skipped, or could not be played to its end
	Steps    []StepReport  `json:"steps"`
	Took     time.Duration `json:"took_ns"`
}

// A StepReport is what was seen of one step.
type StepReport struct {
	Line   int           `json:"line"`
	What   string        `json:"what"`
	Checks []Check       `json:"checks"`
	Note   string        `json:"note,omitempty"`
	OK     bool          `json:"ok"`
	Played bool          `json:"played"` // false behind a step that had to succeed and did not
	Ended  time.Time     `json:"ended,omitzero"`
	Took   time.Duration `json:"took_ns"`
}

// settle gives r its result from those of its steps.
func (r *Report) settle() {
	r.Result = Pass
	if len(r.Steps) == 0 || r.Why != "" {
		r.Result = Fail // what was not looked at does not pass
	}
	for _, s := range r.Steps {
		if !s.OK || !s.Played || len(s.Checks) == 0 {
			r.Result = Fail
		}
	}
}

// notPlayed reports a step that was not come to.
func notPlayed(s configs.Step) StepReport {
	return StepReport{Line: s.Line, What: what(s), Checks: []Check{{"is played", "played", "not played: a step before it failed", false}}}
}
