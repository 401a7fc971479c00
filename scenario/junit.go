package scenario

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// The elements of a JUnit report, as CI systems read them: a suite for each
// scenario, a case for each of its steps.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Time     string      `xml:"time,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string       `xml:"classname,attr"`
		Name    string       `xml:"name,attr"`
		Time    string       `xml:"time,attr"`
		Failure *junitReason `xml:"failure,omitempty"`
		Skipped *junitReason `xml:"skipped,omitempty"`
		Output  string       `xml:"system-out,omitempty"`
	}
	junitReason struct {
		Message string `xml:"message,attr"`
	}
)

// WriteJUnit writes reports as JUnit's XML. It fails as w does.
func WriteJUnit(w io.Writer, reports []Report) error {
	var all junitSuites
	for _, r := range reports {
		all.Suites = append(all.Suites, suite(r))
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func suite(r Report) junitSuite {
	s := junitSuite{Name: r.Scenario, Time: fmt.Sprintf("%.3f", r.Took.Seconds())}
	if r.Result == Skip {
		s.Cases = []junitCase{{Class: r.Scenario, Name: r.Scenario, Time: "0", Skipped: &junitReason{legal(r.Why)}}}
		s.Tests, s.Skipped = 1, 1
		return s
	}
	for i, step := range r.Steps {
		c := junitCase{Class: r.Scenario, Name: legal(fmt.Sprintf("%d %s", i+1, step.What)), Time: fmt.Sprintf("%.3f", step.Took.Seconds())}
		var bad []string
		for _, k := range step.Checks {
			line := fmt.Sprintf("%s: want %s, got %s", k.What, k.Want, k.Got)
			c.Output += legal(line) + "\n"
			if !k.OK {
				bad = append(bad, line)
			}
		}
		if !step.OK || !step.Played {
			c.Failure = &junitReason{legal(strings.Join(bad, "; "))}
			s.Failures++
		}
		s.Cases = append(s.Cases, c)
	}
	if r.Why != "" {
		s.Cases = append(s.Cases, junitCase{Class: r.Scenario, Name: "the stage", Time: "0", Failure: &junitReason{legal(r.Why)}})
		s.Failures++
	}
	s.Tests = len(s.Cases)
	return s
}

// legal drops what XML 1.0 has no way to write.
func legal(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
