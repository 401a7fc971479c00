package scenario

import (
	"fmt"
	"strings"

	"github.com/vmlaunch/vmlaunch/configs"
)

// what says what a step does, in words.
func what(s configs.Step) string {
	text := verbText(s)
	if s.Title != "" {
		return s.Title + ": " + text
	}
	return text
}

func verbText(s configs.Step) string {
	machines := strings.Join(s.Machines, ", ")
	switch s.Verb {
	case configs.StepDial:
		text := "dial from " + s.From + " to "
		if s.To != "" {
			text += s.To
		} else {
			text += fmt.Sprintf("cid %d", s.CID)
		}
		if s.Port != 0 {
			text += fmt.Sprintf(" port %d", s.Port)
		}
		return text
	case configs.StepSay:
		return fmt.Sprintf("say %q on %s", s.Text, s.On)
	case configs.StepListen:
		return fmt.Sprintf("listen in %s as %s", place(s.In), s.As)
	case configs.StepClaim:
		return fmt.Sprintf("claim cid %d in %s", s.CID, place(s.In))
	case configs.StepClose:
		return "close " + s.On
	case configs.StepMode:
		return "read the mode of " + place(s.In)
	case configs.StepChildMode:
		return fmt.Sprintf("write %q to child_ns_mode of %s", s.Mode, place(s.In))
	case configs.StepUnpin:
		return "delete namespace " + s.In
	case configs.StepLoad:
		return fmt.Sprintf("send %d bytes over each of %d connections from %s to %s", s.Bytes, s.Connections, s.From, s.To)
	case configs.StepExec:
		return fmt.Sprintf("exec in %s: %s", s.On, strings.Join(s.Command, " "))
	case configs.StepTogether:
		var all []string
		for _, t := range s.Together {
			all = append(all, verbText(t))
		}
		return "at once: " + strings.Join(all, "; ")
	case configs.StepOrder:
		return "order: " + strings.Join(s.Steps, " before ")
	}
	return s.Verb + " " + machines
}

func place(in string) string {
	if in == "" {
		return configs.PlaceHost
	}
	return in
}
