package qmp

import (
	"context"
	"errors"

	"github.com/digitalocean/go-qemu/qmp/raw"
)

// State is whether a machine runs. Status is QEMU's word for it, such as
// "running", "paused", "prelaunch", "shutdown" or "guest-panicked" (RunState in
// its qapi/run-state.json).
type State struct {
	Running bool   `json:"running"`
	Status  string `json:"status"`
}

// commands is go-qemu's typed command set with each command bounded by ctx.
func (c *Client) commands(ctx context.Context) *raw.Monitor {
	return raw.NewMonitor(bound{c, ctx})
}

// Version asks QEMU for its version. It fails as [Client.Execute] does.
// [Client.Greeting] has it without asking.
func (c *Client) Version(ctx context.Context) (Version, error) {
	var v Version
	err := c.Execute(ctx, "query-version", nil, &v)
	return v, err
}

// Status asks for the machine's run state. It fails as [Client.Execute] does.
// It does not use go-qemu's QueryStatus, which fails on states newer than 2018.
func (c *Client) Status(ctx context.Context) (State, error) {
	var s State
	err := c.Execute(ctx, "query-status", nil, &s)
	return s, err
}

// Cont lets the machine run. It fails as [Client.Execute] does.
func (c *Client) Cont(ctx context.Context) error { return c.commands(ctx).Cont() }

// Stop pauses the machine's CPUs. It fails as [Client.Execute] does.
func (c *Client) Stop(ctx context.Context) error { return c.commands(ctx).Stop() }

// Powerdown presses the power button. Success says only that it was pressed:
// whether and when the guest shuts down is the guest's affair, told by a
// SHUTDOWN event. It fails as [Client.Execute] does.
func (c *Client) Powerdown(ctx context.Context) error { return c.commands(ctx).SystemPowerdown() }

// Reset restarts the guest at once, without asking it. It fails as
// [Client.Execute] does.
func (c *Client) Reset(ctx context.Context) error { return c.commands(ctx).SystemReset() }

// Quit ends QEMU at once, without asking the guest. A QEMU that goes before it
// has answered has done what it was told. It fails as [Client.Execute] does
// otherwise. The process may take a moment to exit: wait for the process.
func (c *Client) Quit(ctx context.Context) error {
	if err := c.commands(ctx).Quit(); !errors.Is(err, ErrGone) {
		return err
	}
	return nil
}

// HMP runs one line of the human monitor and returns what it printed. It fails
// as [Client.Execute] does; an HMP command that goes wrong does not fail but
// prints what is wrong.
func (c *Client) HMP(ctx context.Context, line string) (string, error) {
	return c.commands(ctx).HumanMonitorCommand(line, nil)
}
