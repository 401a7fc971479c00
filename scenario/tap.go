package scenario

import (
	"fmt"
	"io"
	"strings"
)

// WriteTAP writes reports as the Test Anything Protocol, version 14: a test for
// each scenario, a subtest for each of its steps, with what was seen. It fails as
// w does.
func WriteTAP(w io.Writer, reports []Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "TAP version 14\n1..%d\n", len(reports))
	for i, r := range reports {
		if r.Result != Skip {
			fmt.Fprintf(&b, "# Subtest: %s\n    1..%d\n", tapText(r.Scenario), len(r.Steps))
			for j, s := range r.Steps {
				fmt.Fprintf(&b, "    %s %d - %s\n", tapOK(s.OK && s.Played), j+1, tapText(s.What))
				for _, c := range s.Checks {
					fmt.Fprintf(&b, "    # %s %s, got %s\n", tapText(c.What), tapText(c.Want), tapText(c.Got))
				}
			}
		}
		fmt.Fprintf(&b, "%s %d - %s", tapOK(r.Result != Fail), i+1, tapText(r.Scenario))
		if r.Result == Skip {
			fmt.Fprintf(&b, " # SKIP %s", tapText(r.Why))
		}
		b.WriteString("\n")
		if r.Result == Fail && r.Why != "" {
			fmt.Fprintf(&b, "# %s\n", tapText(r.Why))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func tapOK(ok bool) string {
	if ok {
		return "ok"
	}
	return "not ok"
}

// tapText makes a text one that can stand in a description: in one line, and
// without a # that would begin a directive.
func tapText(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(strings.Join(strings.Fields(s), " "), `\`, `\\`), "#", `\#`)
}
