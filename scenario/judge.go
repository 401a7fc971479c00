package scenario

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/configs"
)

// seen is what a step was seen to do.
type seen struct {
	err     error  // why it failed
	reached string // the machine or listener that answered
	answer  string
	mode    string
	exit    *int
	closed  bool   // the other side closed the connection
	note    string // more evidence, in words
}

// A Check is one thing that a step had to show, and what was seen.
type Check struct {
	What string `json:"what"`
	Want string `json:"want"`
	Got  string `json:"got"`
	OK   bool   `json:"ok"`
}

// judge compares what a step was seen to do with what it has to show. It is a
// pure function; there is always at least one check.
func judge(e configs.Expect, s seen) []Check {
	if e.Fails() {
		return judgeFailure(e, s)
	}
	got := "done"
	if s.err != nil {
		got = describe(s.err)
	}
	checks := []Check{{"succeeds", "done", got, s.err == nil}}
	if s.err != nil {
		return checks
	}
	add := func(what, want, got string) {
		if want != "" {
			checks = append(checks, Check{what, want, got, want == got})
		}
	}
	add("reaches", e.Reached, s.reached)
	add("answers", e.Answer, s.answer)
	add("has the mode", e.Mode, s.mode)
	if e.Closed {
		add("is closed by the other side", "closed", map[bool]string{true: "closed", false: "open, " + s.answer}[s.closed])
	}
	switch {
	case e.Exit != nil && s.exit == nil:
		add("exits with", fmt.Sprint(*e.Exit), "no exit code")
	case e.Exit != nil:
		add("exits with", fmt.Sprint(*e.Exit), fmt.Sprint(*s.exit))
	case s.exit != nil && *s.exit != 0: // nobody asked for a failure
		add("exits with", "0", fmt.Sprint(*s.exit))
	}
	return checks
}

func judgeFailure(e configs.Expect, s seen) []Check {
	got := "it succeeded"
	if s.reached != "" {
		got += ", and reached " + s.reached
	}
	if s.err != nil {
		got = describe(s.err)
	}
	var checks []Check
	if e.Errno != "" {
		checks = append(checks, Check{"fails with", e.Errno, got, s.err != nil && errnoName(s.err) == e.Errno})
	}
	if e.Error != "" {
		checks = append(checks, Check{"fails with the words", e.Error, got, s.err != nil && strings.Contains(s.err.Error(), e.Error)})
	}
	return checks
}

// errnoName returns the name of the errno in err, "" if there is none.
func errnoName(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return unix.ErrnoName(errno)
	}
	return ""
}

// describe returns an error in one line, its errno first.
func describe(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if name := errnoName(err); name != "" {
		return name + ": " + text
	}
	return text
}
