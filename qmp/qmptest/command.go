package qmptest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/vmlaunch/vmlaunch/qmp"
)

// handshake talks to the peer by hand, without a client.
func handshake(t *testing.T, p *Peer) {
	conn, err := net.Dial("unix", p.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewScanner(conn)
	for _, c := range []struct{ say, want string }{
		{"", `"QMP"`},
		{`{"execute": "query-status", "id": 1}`, qmp.CommandNotFound},
		{`{"execute": "qmp_capabilities"}`, `"return"`},
		{`{"execute": "query-status"}{"execute": "qmp_capabilities"}`, `"prelaunch"`}, // needs nothing between
		{"", qmp.CommandNotFound},
	} {
		if _, err := conn.Write([]byte(c.say)); err != nil {
			t.Fatal(err)
		}
		if !in.Scan() {
			t.Fatalf("no answer to %s: %v", c.say, in.Err())
		}
		if got := in.Text(); !strings.Contains(got, c.want) {
			t.Errorf("%s: got %s, want %s in it", c.say, got, c.want)
		}
	}
}

func greeting(t *testing.T, p *Peer) {
	c := dial(t, p.Path)
	g := c.Greeting()
	if g.Version.QEMU.Major < 7 {
		t.Errorf("greeted by version %s, want 7 or later", g.Version)
	}
	v, err := c.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if v != g.Version {
		t.Errorf("query-version says %v, the greeting said %v", v, g.Version)
	}
}

func runState(t *testing.T, p *Peer) {
	c := dial(t, p.Path)
	want := func(status string, running bool) {
		t.Helper()
		got, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if w := (qmp.State{Running: running, Status: status}); got != w {
			t.Errorf("got state %+v, want %+v", got, w)
		}
	}
	want("prelaunch", false)
	for range 2 { // the second time changes nothing
		if err := c.Cont(t.Context()); err != nil {
			t.Fatal(err)
		}
		want("running", true)
	}
	for range 2 {
		if err := c.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		want("paused", false)
	}
}

func refusal(t *testing.T, p *Peer) {
	c := dial(t, p.Path)
	for _, r := range []struct {
		command string
		args    any
		class   string
	}{
		{"no-such-command", nil, qmp.CommandNotFound},
		{"qmp_capabilities", nil, qmp.CommandNotFound},
		{"query-status", 5, qmp.GenericError},
		{"human-monitor-command", map[string]int{}, qmp.GenericError},
	} {
		err := c.Execute(t.Context(), r.command, r.args, nil)
		var refused *qmp.Error
		if !errors.As(err, &refused) || refused.Class != r.class || refused.Desc == "" {
			t.Errorf("%s %v: got %v, want a %s with a description", r.command, r.args, err, r.class)
		}
		if !strings.Contains(fmt.Sprint(err), r.command) {
			t.Errorf("%s: error %q does not name the command", r.command, err)
		}
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("status after refusals: %v", err)
	}
}

func humanMonitor(t *testing.T, p *Peer) {
	c := dial(t, p.Path)
	for line, want := range map[string]string{
		"no-such-command at all": "unknown command: 'no-such-command'",
		"info status":            "VM status: paused (prelaunch)",
	} {
		got, err := c.HMP(t.Context(), line)
		if err != nil || strings.TrimSpace(got) != want {
			t.Errorf("%s: got %q, %v, want %q", line, got, err, want)
		}
	}
}

func reset(t *testing.T, p *Peer) {
	c := dial(t, p.Path)
	events := c.Subscribe()
	if err := c.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	e := await(t, events, "RESET")
	if e.Data["guest"] != false || e.Data["reason"] != "host-qmp-system-reset" {
		t.Errorf("got data %v, want the host's reset", e.Data)
	}
	if err := c.Powerdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, events, "POWERDOWN")
}

func malformedCommand(t *testing.T, p *Peer) {
	c := dial(t, p.Path)
	for _, bad := range []string{"not json", "", `{"execute":"quit"`, "42", `{"arguments":{}}`, `{"execute":"quit"}{"execute":"quit"}`} {
		if got, err := c.Run([]byte(bad)); err == nil {
			t.Errorf("Run(%q) returned %s, want an error", bad, got)
		}
	}
	// go-qemu would answer each of these with the reply to the one before.
	for range 3 {
		got, err := c.Run([]byte(`{"execute":"query-version"}`))
		if err != nil || !strings.Contains(string(got), `"package"`) {
			t.Errorf("got %s, %v, want a version", got, err)
		}
		if _, err := c.Status(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func commandIDs(t *testing.T, p *Peer) {
	c := dial(t, p.Path)
	for _, id := range []string{`7`, `"seven"`, `{"n":7}`, ``} {
		command, want := `{"execute":"query-name"}`, `{"return":{}}`
		if id != "" {
			command, want = `{"execute":"query-name","id":`+id+`}`, `{"return":{},"id":`+id+`}`
		}
		if got, err := c.Run([]byte(command)); err != nil || string(got) != want {
			t.Errorf("Run(%s) = %s, %v, want %s", command, got, err, want)
		}
	}
}

func bigReply(t *testing.T, p *Peer) {
	c := dial(t, p.Path)
	for range 2 { // the connection stays good
		var schema []struct {
			Name string `json:"name"`
			Meta string `json:"meta-type"`
		}
		var raw json.RawMessage
		if err := c.Execute(t.Context(), "query-qmp-schema", nil, &raw); err != nil {
			t.Fatal(err)
		}
		if len(raw) < 100<<10 {
			t.Fatalf("got %d bytes, want well over 64 KiB", len(raw))
		}
		if err := json.Unmarshal(raw, &schema); err != nil {
			t.Fatal(err)
		}
		for i, e := range schema {
			if e.Name == "" || e.Meta == "" {
				t.Fatalf("entity %d of %d is damaged: %+v", i, len(schema), e)
			}
		}
	}
}

func concurrentCommands(t *testing.T, p *Peer) {
	c := dial(t, p.Path)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if s, err := c.Status(t.Context()); err != nil || s.Status != "prelaunch" {
					t.Errorf("status: got %+v, %v", s, err)
				}
			}
		})
		wg.Go(func() {
			for range 50 {
				if v, err := c.Version(t.Context()); err != nil || v != c.Greeting().Version {
					t.Errorf("version: got %v, %v", v, err)
				}
			}
		})
	}
	wg.Wait()
}
