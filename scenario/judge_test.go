package scenario

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/vmlaunch/vmlaunch/configs"
)

// TestJudge sees each kind of expectation met, and each fail, with what was seen
// in the evidence.
func TestJudge(t *testing.T) {
	none := fmt.Errorf("dial vsock 42:7: %w", syscall.ENODEV)
	number := func(n int) *int { return &n }
	for name, c := range map[string]struct {
		want configs.Expect
		got  seen
		ok   bool
		says string // in the evidence
	}{
		"success":                     {configs.Expect{}, seen{}, true, "done"},
		"a failure nobody expects":    {configs.Expect{}, seen{err: none}, false, "ENODEV: dial vsock 42:7"},
		"an errno":                    {configs.Expect{Errno: "ENODEV"}, seen{err: none}, true, "ENODEV"},
		"another errno":               {configs.Expect{Errno: "ECONNRESET"}, seen{err: none}, false, "ENODEV"},
		"an errno, and it succeeds":   {configs.Expect{Errno: "ENODEV"}, seen{reached: "berry"}, false, "it succeeded, and reached berry"},
		"an errno, and none is in it": {configs.Expect{Errno: "ENODEV"}, seen{err: errors.New("no such device")}, false, "no such device"},
		"words":                       {configs.Expect{Error: "vsock 42"}, seen{err: none}, true, "vsock 42"},
		"other words":                 {configs.Expect{Error: "vsock 43"}, seen{err: none}, false, "vsock 42"},
		"words, and it succeeds":      {configs.Expect{Error: "held"}, seen{}, false, "it succeeded"},
		"words and an errno":          {configs.Expect{Errno: "ENODEV", Error: "43"}, seen{err: none}, false, "vsock 42"},
		"the machine":                 {configs.Expect{Reached: "apple"}, seen{reached: "apple"}, true, "apple"},
		"another machine":             {configs.Expect{Reached: "apple"}, seen{reached: "berry"}, false, "berry"},
		"no machine":                  {configs.Expect{Reached: "apple"}, seen{}, false, ""},
		"an answer":                   {configs.Expect{Answer: "OK pong"}, seen{answer: "OK pong"}, true, "OK pong"},
		"another answer":              {configs.Expect{Answer: "OK pong"}, seen{answer: "OK"}, false, "OK"},
		"a mode":                      {configs.Expect{Mode: "local"}, seen{mode: "local"}, true, "local"},
		"another mode":                {configs.Expect{Mode: "local"}, seen{mode: "global"}, false, "global"},
		"an exit code":                {configs.Expect{Exit: number(3)}, seen{exit: number(3)}, true, "3"},
		"another exit code":           {configs.Expect{Exit: number(3)}, seen{exit: number(0)}, false, "0"},
		"an exit code, and no end":    {configs.Expect{Exit: number(3)}, seen{}, false, "no exit code"},
		"an exit code nobody expects": {configs.Expect{}, seen{exit: number(1)}, false, "1"},
		"an exit code of success":     {configs.Expect{}, seen{exit: number(0)}, true, "done"},
		"closed":                      {configs.Expect{Closed: true}, seen{closed: true}, true, "closed"},
		"closed, and it is open":      {configs.Expect{Closed: true}, seen{answer: "hello"}, false, "open, hello"},
		"two, and one is not met":     {configs.Expect{Reached: "apple", Answer: "x"}, seen{reached: "apple", answer: "y"}, false, "y"},
	} {
		t.Run(name, func(t *testing.T) {
			checks := judge(c.want, c.got)
			ok, evidence := len(checks) > 0, ""
			for _, k := range checks {
				ok = ok && k.OK
				evidence += k.Got + "\n"
			}
			if ok != c.ok || !strings.Contains(evidence, c.says) {
				t.Errorf("ok is %v, want %v, with %q in: %+v", ok, c.ok, c.says, checks)
			}
		})
	}
}

// TestSettle passes nothing that was not looked at.
func TestSettle(t *testing.T) {
	good := StepReport{OK: true, Played: true, Checks: []Check{{OK: true}}}
	for name, c := range map[string]struct {
		r    Report
		want Result
	}{
		"all well":             {Report{Steps: []StepReport{good, good}}, Pass},
		"no steps":             {Report{}, Fail},
		"one fails":            {Report{Steps: []StepReport{good, {Played: true, Checks: []Check{{}}}}}, Fail},
		"one is not played":    {Report{Steps: []StepReport{good, notPlayed(configs.Step{Verb: configs.StepUp})}}, Fail},
		"one has no check":     {Report{Steps: []StepReport{good, {OK: true, Played: true}}}, Fail},
		"the stage falls down": {Report{Why: "no vsock", Steps: []StepReport{good}}, Fail},
	} {
		r := c.r
		r.settle()
		if r.Result != c.want {
			t.Errorf("%s: %s, want %s", name, r.Result, c.want)
		}
	}
}
