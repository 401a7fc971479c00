package qmptest

import (
	"bytes"
	"errors"
	"runtime"
	"testing"

	"github.com/digitalocean/go-qemu/qemu"
	"github.com/digitalocean/go-qemu/qmp/raw"

	"github.com/vmlaunch/vmlaunch/qmp"
)

func rawMonitor(t *testing.T, p *Peer) {
	c := dial(t, p.Path)
	if err := c.Connect(); err != nil { // hangs in go-qemu when called again
		t.Fatal(err)
	}
	m := raw.NewMonitor(c)
	status, err := m.QueryStatus()
	if err != nil || status.Status != raw.RunStatePrelaunch {
		t.Errorf("QueryStatus: %+v, %v, want prelaunch", status, err)
	}
	if err := m.Cont(); err != nil {
		t.Error(err)
	}
	if _, err := m.HumanMonitorCommand("info status", nil); err != nil {
		t.Error(err)
	}
	if commands, err := m.QueryCommands(); err != nil || len(commands) < 10 {
		t.Errorf("QueryCommands: %d, %v, want some", len(commands), err)
	}
	var refused *qmp.Error
	if err := m.DeviceDel(""); !errors.As(err, &refused) || refused.Class == "" {
		t.Errorf("DeviceDel: %v, want a refusal with its class", err)
	}
}

func domain(t *testing.T, p *Peer) {
	d, err := qemu.NewDomain(dial(t, p.Path), "test")
	if err != nil {
		t.Fatal(err)
	}
	if status, err := d.Status(); err != nil || status != qemu.StatusPreLaunch {
		t.Errorf("Status: %v, %v, want prelaunch", status, err)
	}
	if v, err := d.Version(); err != nil || v == "" {
		t.Errorf("Version: %q, %v", v, err)
	}
	events, done, err := d.Events()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.SystemReset(); err != nil {
		t.Fatal(err)
	}
	if e := <-events; e.Event != "RESET" {
		t.Errorf("got event %s, want RESET", e.Event)
	}
	if err := d.SystemPowerdown(); err != nil { // nobody reads its event
		t.Fatal(err)
	}
	if supported, err := d.Supported("query-status"); err != nil || !supported {
		t.Errorf("Supported(query-status) = %t, %v", supported, err)
	}
	if err := d.Close(); err != nil { // hangs on go-qemu's own monitor
		t.Error(err)
	}
	close(done)
}

func leak(t *testing.T, p *Peer) {
	for range 20 {
		c := dial(t, p.Path)
		if _, err := c.Events(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	// Close waits until they have done all; to be gone takes them a moment more.
	eventually(t, "no goroutine of a closed client lives", func() bool {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		return !bytes.Contains(stacks, []byte("qmp.(*Client)"))
	})
}
