package scenario

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/configs"
)

// TestOrder compares the times of steps, either way round.
func TestOrder(t *testing.T) {
	now := time.Now()
	st := newStage(nil, configs.Lab{}, nil)
	st.ended["a"], st.ended["b"], st.ended["c"] = now, now.Add(time.Second), now.Add(2*time.Second)
	for names, want := range map[string]bool{"a b c": true, "a c": true, "b a": false, "a c b": false, "a a": false, "a": false} {
		ok := true
		checks := st.order(configs.Step{Steps: strings.Fields(names)})
		for _, c := range checks {
			ok = ok && c.OK
		}
		if ok != want || len(checks) == 0 {
			t.Errorf("%s: %+v, want %v", names, checks, want)
		}
	}
}

// TestTogetherPlaysAll fails if one of the steps does, and tells which.
func TestTogetherPlaysAll(t *testing.T) {
	st := newStage(nil, configs.Lab{}, nil)
	bad := configs.Step{Verb: configs.StepClose, On: "nothing"}
	good := configs.Step{Verb: configs.StepClose, On: "nothing", Expect: configs.Expect{Error: "never opened"}}
	r := st.play(t.Context(), configs.Step{Verb: configs.StepTogether, Together: []configs.Step{good, bad, good}})
	if r.OK || len(r.Checks) != 3 || !r.Checks[0].OK || r.Checks[1].OK || !strings.Contains(r.Checks[1].Got, "never opened") {
		t.Errorf("got %+v", r)
	}
}

// TestEchoComparesWhatComesBack meets a peer that is true, one that changes a byte,
// and one that hangs up.
func TestEchoComparesWhatComesBack(t *testing.T) {
	for name, c := range map[string]struct {
		peer func(net.Conn)
		want string
	}{
		"true": {func(c net.Conn) { _, _ = io.Copy(c, c) }, ""},
		"false": {func(c net.Conn) {
			b := make([]byte, chunk)
			_, _ = io.ReadFull(c, b)
			b[100]++
			_, _ = c.Write(b)
			_, _ = io.Copy(io.Discard, c)
		}, "came back changed"},
		"short": {func(c net.Conn) { _, _ = io.ReadFull(c, make([]byte, chunk)) }, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := net.Pipe()
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer far.Close()
				c.peer(far)
			}()
			ctx, cancel := context.WithTimeout(t.Context(), stepWait)
			defer cancel()
			err := echo(ctx, near, 7, 3*chunk+5)
			near.Close()
			<-done
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestReadLine takes one line and nothing of the next.
func TestReadLine(t *testing.T) {
	near, far := net.Pipe()
	go func() {
		_, _ = io.WriteString(far, "one\r\ntwo\nthr")
		far.Close()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), stepWait)
	defer cancel()
	for _, want := range []string{"one", "two"} {
		if got, err := readLine(ctx, near); err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	if got, err := readLine(ctx, near); !errors.Is(err, io.EOF) || got != "thr" {
		t.Errorf("got %q, %v, want half a line and io.EOF", got, err)
	}
}

// TestWhatTellsEveryVerb describes every verb that there is.
func TestWhatTellsEveryVerb(t *testing.T) {
	for _, v := range configs.StepVerbs() {
		s := configs.Step{Verb: v.Name, Machines: []string{"apple"}, From: "red", To: "apple", In: "red", On: "apple", As: "x", Mode: "local", Steps: []string{"a", "b"}, Command: []string{"true"}}
		if text := what(s); text == "" || text == v.Name+" " {
			t.Errorf("%s: %q", v.Name, text)
		}
		if v.Doc == "" || v.Fields == nil {
			t.Errorf("%s is not documented", v.Name)
		}
	}
}
